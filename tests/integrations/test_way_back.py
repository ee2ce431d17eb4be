"""A refused browser gets a page whose button leads, by the app's own login, back to where the browser was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from html import escape, unescape
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlsplit

import falcon
import falcon.asgi
import litestar
import pytest
import quart
from asgiref.wsgi import WsgiToAsgi
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import re_path, set_script_prefix
from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from fbguard import Guard, Policy, Requirement, TokenInfo, asgi, heads, require_fb_token, wsgi
from fbguard.integrations import django as django_integration
from fbguard.integrations.fastapi import FBToken
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import FBAuthBackend
from fbguard.sandbox import Sandbox
from tests.integrations.django_site import GUARDING, Site, options
from tests.login.browsers import COOKIE, REDIRECT_URI, SITE, Browser, guard_of
from tests.support import Answer, call_asgi, call_wsgi, http_scope, wsgi_environ

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

LOGIN = f"{SITE}/facebook/login"
ASKED = f"{LOGIN}?scope=email"
DIALOG = "https://www.facebook.com/v26.0/dialog/oauth"
CHROME = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8")
EMAIL = Requirement(scopes=["email"])
EVERYTHING = Policy(default=EMAIL)
VERBS = ["GET", "POST", "PUT"]
needs_email = require_fb_token(scopes=["email"])

# A path as the app reads it, and as the login gets it: percent-encoded as a path, then as a value.
PATHS = {
    "/me": "%2Fme",
    "/a b": "%2Fa%2520b",
    "/caf\u00e9": "%2Fcaf%25C3%25A9",
    "/\u65e5\u672c/\u00c3\u00a9": "%2F%25E6%2597%25A5%25E6%259C%25AC%2F%25C3%2583%25C2%25A9",
    "/100%/%41": "%2F100%2525%2F%252541",
    "/a&next=b+c": "%2Fa%2526next%253Db%252Bc",
    "/a?b#c": "%2Fa%253Fb%2523c",
    "/<b>\"'": "%2F%253Cb%253E%2522%2527",
}
UNPLAIN = [
    "//evil.example",
    "/a//b",
    "/./a",
    "/a/../b",
    "/a;b",
    "/a\\b",
    "/a\tb",
    "/\u0085",
    "/\ufffd",
    "/" + "x" * 1024,
]


# -- the same app everywhere -------------------------------------------------------------------------------


def plain_asgi() -> Any:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("nobody gets in")

    return app


def plain_wsgi() -> Any:
    def app(_environ: Any, _start_response: Any) -> Any:
        raise AssertionError("nobody gets in")

    return app


def raises_missing(guard: Guard) -> Any:
    """Return an app without routes, that asks for a token itself."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await guard.acheck(None)

    return app


def starlette_app(view: Any = None, **more: Any) -> Starlette:
    async def nobody(_request: Request) -> PlainTextResponse:
        raise AssertionError("nobody gets in")

    return Starlette(routes=[Route("/{rest:path}", view or nobody, methods=VERBS)], **more)


@needs_email
async def starlette_view(_request: Request) -> PlainTextResponse:
    raise AssertionError("nobody gets in")


@needs_email
def sync_starlette_view(_request: Request) -> PlainTextResponse:
    raise AssertionError("nobody gets in")


def starlette_backend(guard: Guard) -> Starlette:
    backend = FBAuthBackend(guard, EMAIL)
    return starlette_app(
        middleware=[Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)]
    )


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.api_route("/{rest:path}", methods=VERBS)
    async def nobody(token: Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]) -> None:
        raise AssertionError(token)

    return app


def flask_app() -> Flask:
    app = Flask("way back")

    def nobody(rest: str) -> str:
        raise AssertionError(rest)

    app.url_map.merge_slashes = False
    app.add_url_rule("/<path:rest>", view_func=needs_email(nobody), methods=VERBS)
    return app


def flask_guarded(guard: Guard, policy: Policy | None) -> Flask:
    app = flask_app()
    FBGuard(app, guard, policy=policy)
    return app


def falcon_app(*, in_wsgi: bool) -> Any:
    app: Any = falcon.App() if in_wsgi else falcon.asgi.App()

    @needs_email
    def now(self: object, req: Any, resp: Any, rest: str) -> None:
        raise AssertionError(rest)

    @needs_email
    async def later(self: object, req: Any, resp: Any, rest: str) -> None:
        raise AssertionError(rest)

    method: Any = now if in_wsgi else later
    app.add_route(
        "/{rest:path}", type("Resource", (), dict.fromkeys(("on_get", "on_post", "on_put"), method))()
    )
    return app


def quart_app() -> quart.Quart:
    app = quart.Quart("way back")
    app.url_map.merge_slashes = False

    @app.route("/<path:rest>", methods=VERBS)
    @needs_email
    async def nobody(rest: str) -> str:
        raise AssertionError(rest)

    return app


def litestar_app() -> litestar.Litestar:
    @litestar.route("/{rest:path}", http_method=["GET", "POST", "PUT"], status_code=200)
    @needs_email
    async def nobody(request: litestar.Request[Any, Any, Any]) -> str:
        raise AssertionError(request)

    return litestar.Litestar([nobody], openapi_config=None)


@needs_email
def django_view(request: HttpRequest) -> HttpResponse:
    raise AssertionError(request)


@needs_email
async def django_aview(request: HttpRequest) -> HttpResponse:
    raise AssertionError(request)


class urls:  # noqa: N801 - stands for a module
    urlpatterns = (re_path(r"(?s)^.*$", django_view),)


class aurls:  # noqa: N801 - stands for a module
    urlpatterns = (re_path(r"(?s)^.*$", django_aview),)


def around(
    make: Callable[[], Any], policy: Policy | None, *, in_wsgi: bool = False
) -> Callable[[Guard], Any]:
    door: Any = wsgi.FBTokenMiddleware if in_wsgi else asgi.FBTokenMiddleware
    return lambda guard: door(make(), guard, policy=policy)


DOORS: dict[str, Callable[[Guard], Any]] = {
    "plain asgi": around(plain_asgi, EVERYTHING),
    "plain wsgi": around(plain_wsgi, EVERYTHING, in_wsgi=True),
    "starlette": around(starlette_app, EVERYTHING),
    "fastapi": around(fastapi_app, EVERYTHING),
    "flask wsgi": lambda guard: flask_guarded(guard, EVERYTHING),
    "falcon asgi": around(lambda: falcon_app(in_wsgi=False), EVERYTHING),
    "falcon wsgi": around(lambda: falcon_app(in_wsgi=True), EVERYTHING, in_wsgi=True),
    "quart": around(quart_app, EVERYTHING),
    "litestar": around(litestar_app, EVERYTHING),
}
VIEWS: dict[str, Callable[[Guard], Any]] = {
    "starlette view": around(lambda: starlette_app(starlette_view), None),
    "starlette sync view": around(lambda: starlette_app(sync_starlette_view), None),
    "starlette backend": lambda guard: asgi.FBTokenMiddleware(starlette_backend(guard), guard, policy=None),
    "fastapi dependency": around(fastapi_app, None),
    "flask view wsgi": lambda guard: flask_guarded(guard, None),
    "flask view below a plain door wsgi": around(flask_app, None, in_wsgi=True),
    "falcon view asgi": around(lambda: falcon_app(in_wsgi=False), None),
    "falcon view wsgi": around(lambda: falcon_app(in_wsgi=True), None, in_wsgi=True),
    "quart view": around(quart_app, None),
    "litestar view": around(litestar_app, None),
}
# Whose guard is that of the settings: policy and routes.
DJANGO: dict[str, tuple[Policy | None, Any]] = {
    "django asgi": (EVERYTHING, urls),
    "django wsgi": (EVERYTHING, urls),
    "django view asgi": (None, urls),
    "django view wsgi": (None, urls),
    "django async view asgi": (None, aurls),
    "django async view wsgi": (None, aurls),
}


class Place:
    """An app that lets nobody in who has not allowed to read the e-mail address."""

    def __init__(self, app: Any, guard: Guard, sandbox: Sandbox, *, in_wsgi: bool) -> None:
        self.app = app
        self.guard = guard
        self.sandbox = sandbox
        self.in_wsgi = in_wsgi

    def has_login(self) -> None:
        """Mount it."""
        assert self.guard.login_wsgi() if self.in_wsgi else self.guard.login_asgi()

    def ask(
        self,
        path: str,
        *headers: tuple[str, str],
        method: str = "GET",
        below: str = "",
        query: str = "",
    ) -> Answer:
        """Send a request for a path below a mount."""
        try:
            if self.in_wsgi:
                name = below.encode().decode("latin-1")
                return call_wsgi(
                    self.app, wsgi_environ(path, method, headers, SCRIPT_NAME=name, QUERY_STRING=query)
                )
            whole = below + path
            more = {"raw_path": quote(whole).encode(), "root_path": below, "query_string": query.encode()}
            return asyncio.run(call_asgi(self.app, http_scope(whole, method, headers, **more)))
        finally:
            set_script_prefix("/")


@pytest.fixture
def place(request) -> Iterator[Place]:
    """Give the place of this name."""
    name, sandbox = request.param, Sandbox()
    in_wsgi = name.endswith("wsgi")
    if name in DJANGO:
        policy, routes = DJANGO[name]
        wired = options(
            sandbox, redirect_uri=REDIRECT_URI, token_from=("header", f"cookie:{COOKIE}"), policy=policy
        )
        with override_settings(ROOT_URLCONF=routes, MIDDLEWARE=[GUARDING], FBGUARD=wired):
            app = Site("wsgi" if in_wsgi else "asgi").app
            yield Place(app, django_integration.guard(), sandbox, in_wsgi=in_wsgi)
    else:
        with guard_of(sandbox) as guard:
            yield Place((DOORS | VIEWS)[name](guard), guard, sandbox, in_wsgi=in_wsgi)


@pytest.fixture
def site(place) -> Place:
    """Give the place, with a login."""
    place.has_login()
    return place


PLACES = [*DOORS, *VIEWS, *DJANGO]
AT_VIEWS = [*VIEWS, *(name for name, (policy, _) in DJANGO.items() if policy is None)]
LITESTAR = "litestar view"  # reads //a/ as /a, and writes that down
everywhere = pytest.mark.parametrize("place", PLACES, indirect=True)


def button(answer: Answer) -> str | None:
    """Return where the button of a page leads; None if there is none."""
    assert answer.header("content-type") == "text/html; charset=utf-8"
    found = re.findall(r'<a class="button" href="([^"]*)"', answer.body.decode())
    assert len(found) < 2
    assert found == [escape(unescape(one)) for one in found]
    return unescape(found[0]) if found else None


# -- there and back ----------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_the_button_leads_back(site, path):
    answer = site.ask(path, CHROME)
    assert (answer.status, button(answer)) == (401, f"{ASKED}&next={PATHS[path]}")


@pytest.mark.parametrize("place", [name for name in PLACES if name != LITESTAR], indirect=True)
def test_a_slash_at_the_end_stays(site):
    assert button(site.ask("/a/b/", CHROME)) == f"{ASKED}&next=%2Fa%2Fb%2F"


@everywhere
def test_a_permission_is_asked_for_on_the_way(site):
    token = site.sandbox.issue_token(scopes=["public_profile"])
    answer = site.ask("/a b", CHROME, ("Authorization", f"Bearer {token}"))
    assert (answer.status, button(answer)) == (
        403,
        f"{LOGIN}?scope=email&auth_type=rerequest&next=%2Fa%2520b",
    )


@everywhere
@pytest.mark.parametrize("below", ["/api", "/api/v1", "/caf\u00e9 1"], ids=ascii)
@pytest.mark.parametrize("path", ["/me", "/api/me"])
def test_below_a_mount_the_whole_path_counts(site, below, path):
    answer = site.ask(path, CHROME, below=below)
    whole = quote(quote(below + path), safe="")
    assert (answer.status, button(answer)) == (401, f"{ASKED}&next={whole}")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_a_person_who_takes_it_comes_back(kind, path):
    sandbox, in_wsgi = Sandbox(), kind == "wsgi"
    with guard_of(sandbox) as guard:
        browser = Browser(kind, guard)
        door = around(plain_wsgi if in_wsgi else plain_asgi, Policy(), in_wsgi=in_wsgi)(guard)
        to = button(Place(door, guard, sandbox, in_wsgi=in_wsgi).ask(path, CHROME))
        assert to == f"{LOGIN}?next={PATHS[path]}"
        done = browser.log_in(sandbox, to.removeprefix(f"{SITE}/facebook"))
    assert (done.status, done.header("location")) == (303, f"{SITE}{quote(path)}")


# -- what servers make of a path ---------------------------------------------------------------------------


def scoped(path: str, raw_path: bytes | None, **more: Any) -> dict[str, Any]:
    scope = http_scope("/", headers=[CHROME]) | {"path": path, "raw_path": raw_path} | more
    return scope if raw_path is not None else {key: one for key, one in scope.items() if key != "raw_path"}


def back_of(app: Any, scope: dict[str, Any]) -> list[str]:
    """Return the path to which a page leads."""
    to = button(asyncio.run(call_asgi(app, scope)))
    return parse_qs(urlsplit(to).query).get("next", [])


@pytest.fixture
def guard() -> Iterator[Guard]:
    with guard_of(Sandbox()) as guard:
        guard.login_asgi()
        yield guard


@pytest.mark.parametrize(
    "make", [starlette_app, litestar_app, quart_app], ids=["starlette", "litestar", "quart"]
)
@pytest.mark.parametrize(
    ("raw_path", "path", "expected"),
    [
        (b"/a:b@(c)~d", "/a:b@(c)~d", "/a:b@(c)~d"),
        (b"/caf%c3%a9", "/caf\u00e9", "/caf%c3%a9"),
        (b"/%61", "/a", "/%61"),
        (b"/100%", "/100%", "/100%"),
        (b"/<b>\"'", "/<b>\"'", "/%3Cb%3E%22'"),
        ("/caf\u00e9".encode(), "/caf\u00e9", "/caf%C3%A9"),
        (b"/me?code=AQcanary", "/me", "/me"),  # of servers that have the query there
        (None, "/caf\u00e9 1", "/caf%C3%A9%201"),
    ],
    ids=ascii,
)
def test_the_path_is_as_the_browser_sent_it(guard, make, raw_path, path, expected):
    view = starlette_app(starlette_view) if make is starlette_app else make()
    for door in (around(make, EVERYTHING)(guard), asgi.FBTokenMiddleware(view, guard, policy=None)):
        assert back_of(door, scoped(path, raw_path)) == [expected]


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [("/a\ufffd", b"/a%FF"), ("/a\ufffd", None), ("", b""), ("", None)],
)
def test_a_path_that_nobody_can_read_is_none_to_come_back_to(guard, path, raw_path):
    door = asgi.FBTokenMiddleware(raises_missing(guard), guard, policy=None)
    assert back_of(door, scoped(path, raw_path)) == []


def test_a_path_that_no_server_makes_is_answered(guard):
    door = asgi.FBTokenMiddleware(raises_missing(guard), guard, policy=None)
    assert asyncio.run(call_asgi(door, scoped("/a\udcff", None))).status == 401


# -- real mounts -------------------------------------------------------------------------------------------


def asked(app: Any, path: str, *, in_wsgi: bool = False) -> str | None:
    if in_wsgi:
        return button(call_wsgi(app, wsgi_environ(path, headers=[CHROME])))
    return button(asyncio.run(call_asgi(app, http_scope(path, headers=[CHROME]))))


MOUNTED: dict[str, Callable[[], Any]] = {
    "starlette": lambda: starlette_app(starlette_view),
    "fastapi": fastapi_app,
    "flask": lambda: WsgiToAsgi(flask_app()),
    "quart": quart_app,
    "litestar": litestar_app,
    "starlette in starlette": lambda: Starlette(routes=[Mount("/b", starlette_app(starlette_view))]),
}


@pytest.mark.parametrize("kind", MOUNTED)
@pytest.mark.parametrize("outer", [Starlette, FastAPI])
def test_an_app_that_is_mounted_in_starlette(guard, kind, outer):
    app = outer(routes=[Mount("/api", MOUNTED[kind]())])
    door = asgi.FBTokenMiddleware(app, guard, policy=None)
    assert asked(door, "/api/b/c d") == f"{ASKED}&next=%2Fapi%2Fb%2Fc%2520d"


@pytest.mark.parametrize("kind", MOUNTED)
def test_a_door_that_is_mounted_in_starlette(guard, kind):
    door = asgi.FBTokenMiddleware(MOUNTED[kind](), guard, policy=EVERYTHING)
    app = Starlette(routes=[Mount("/api", door)])
    assert asked(app, "/api/b/c d") == f"{ASKED}&next=%2Fapi%2Fb%2Fc%2520d"


@pytest.mark.parametrize("make", [flask_app, lambda: falcon_app(in_wsgi=True)], ids=["flask", "falcon"])
@pytest.mark.parametrize("inside", [True, False])
def test_an_app_that_is_mounted_in_wsgi(guard, make, inside):
    def door(app: Any) -> Any:
        return wsgi.FBTokenMiddleware(app, guard, policy=EVERYTHING if inside else None)

    app = make()
    if inside:
        app = DispatcherMiddleware(plain_wsgi(), {"/api/v1": door(app)})
    else:
        app = door(DispatcherMiddleware(plain_wsgi(), {"/api/v1": app}))
    assert asked(app, "/api/v1/b/c d", in_wsgi=True) == f"{ASKED}&next=%2Fapi%2Fv1%2Fb%2Fc%2520d"


# -- who is not led back -----------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_was_sent_cannot_be_sent_again_by_a_link(site, method):
    answer = site.ask("/me", CHROME, method=method)
    assert (answer.status, button(answer)) == (401, ASKED)


@pytest.mark.parametrize("place", DOORS, indirect=True)
def test_head_is_told_of_the_page_that_get_would_get(site):
    get, head = site.ask("/me", CHROME), site.ask("/me", CHROME, method="HEAD")
    assert (head.status, head.body) == (401, b"")
    assert head.header("content-length") == get.header("content-length") == str(len(get.body))


@everywhere
@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html;q=0.5"])
def test_programs_get_the_address_of_the_login(site, accept):
    answer = site.ask("/me", *([] if accept is None else [("Accept", accept)]))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert answer.json["relogin"]["url"] == ASKED
    assert b"next" not in answer.body


@pytest.mark.parametrize("place", [name for name in AT_VIEWS if name != LITESTAR], indirect=True)
@pytest.mark.parametrize("path", UNPLAIN, ids=lambda path: ascii(path[:20]))
def test_a_path_that_can_be_read_in_two_ways_is_none_to_come_back_to(site, path):
    answer = site.ask(path, CHROME)
    assert (answer.status, button(answer)) == (401, ASKED)


@pytest.mark.parametrize("place", [LITESTAR], indirect=True)
def test_litestar_makes_a_path_plain_itself(site):
    assert button(site.ask("//evil.example", CHROME)) in {ASKED, f"{ASKED}&next=%2Fevil.example"}


@pytest.mark.parametrize("place", DOORS, indirect=True)
@pytest.mark.parametrize("path", UNPLAIN[:-1], ids=ascii)
def test_a_door_has_no_button_for_such_a_path(site, path):
    answer = site.ask(path, CHROME)
    assert (answer.status, button(answer)) == (400, None)


@pytest.mark.parametrize(
    "place", ["plain wsgi", "flask view wsgi", "falcon view wsgi", "django view wsgi"], indirect=True
)
@pytest.mark.parametrize("below", ["", "/api"])
def test_a_path_that_is_no_utf8_is_none_to_come_back_to(site, below):
    answer = site.ask("/a\udcff", CHROME, below=below)
    assert answer.status in {400, 401}
    assert b"next" not in answer.body


@everywhere
def test_without_a_login_the_button_leads_to_the_dialog(place):
    to = button(place.ask("/me", CHROME))
    assert to.startswith(f"{DIALOG}?client_id={place.sandbox.app_id}&")
    assert "next" not in to


@everywhere
def test_a_query_is_nowhere_on_the_page(site):
    """It may hold a token, or a code."""
    query = "code=AQcanary&access%5Ftoken=EAAcanary&next=/canary&x=%3Cscript%3E"
    answer = site.ask("/me", CHROME, query=query)
    assert (answer.status, button(answer)) == (401, f"{ASKED}&next=%2Fme")
    assert not re.search(rb"canary|code=|script", answer.body)
    assert "canary" not in str(answer.headers)


@everywhere
def test_who_must_go_to_facebook_first_is_led_there(site):
    token = site.sandbox.issue_token(user_id="42", scopes=["email"])
    site.sandbox.checkpoint("42")
    answer = site.ask("/me", CHROME, ("Authorization", f"Bearer {token}"))
    assert (answer.status, button(answer)) == (401, "https://www.facebook.com/")


@everywhere
def test_who_has_to_wait_asks_again_here(site):
    token = site.sandbox.issue_token(scopes=["email"])
    site.sandbox.fail(500)
    answer = site.ask("/me", CHROME, ("Authorization", f"Bearer {token}"))
    assert (answer.status, button(answer)) == (503, "")


@everywhere
def test_nothing_of_a_request_says_where_the_login_is(site):
    evil = [(name, "evil.example") for name in ("Host", "X-Forwarded-Host", "Referer", "Origin")]
    evil += [("X-Forwarded-Prefix", "/evil"), ("X-Original-URL", "/evil"), ("X-Forwarded-Proto", "http")]
    answer = site.ask("/me", CHROME, *evil)
    assert (answer.status, button(answer)) == (401, f"{ASKED}&next=%2Fme")
    assert b"evil" not in answer.body


def test_a_websocket_is_no_page_to_come_back_to(guard):
    """Of servers that send the body of a refusal (the HTTP denial response)."""
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    scope = http_scope("/ws", headers=[CHROME], type="websocket", extensions={"websocket.http.response": {}})
    del scope["method"]
    asyncio.run(asgi.FBTokenMiddleware(plain_asgi(), guard)(scope, receive, send))
    start, body = messages
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (
        urlsplit(button(Answer(401, [("content-type", "text/html; charset=utf-8")], body["body"]))).query
        == ""
    )


# -- a login behind its own guard -----------------------------------------------------------------------


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_who_guards_the_login_itself_is_told(caplog, door):
    heads._tell_of_guarded_login.cache_clear()
    told = (
        "the login is behind its own guard: a policy wants Rule('/facebook/login', public=True), and others "
        "for its callback and log-out"
    )
    with guard_of(Sandbox()) as guard:
        if door == "asgi":
            guard.login_asgi()
            app: Any = asgi.FBTokenMiddleware(plain_asgi(), guard)
        else:
            guard.login_wsgi()
            app = wsgi.FBTokenMiddleware(plain_wsgi(), guard)

        def ask(path: str) -> int:
            if door == "asgi":
                return asyncio.run(call_asgi(app, http_scope(path))).status
            return call_wsgi(app, wsgi_environ(path)).status

        assert ask("/login") == ask("/facebook/logout") == 401
        assert told not in caplog.messages
        assert [ask("/facebook/login") for _ in range(2)] == [401, 401]
    assert caplog.messages.count(told) == 1


def test_who_has_no_login_is_told_of_none(caplog):
    heads._tell_of_guarded_login.cache_clear()
    with guard_of(Sandbox()) as guard:
        app = asgi.FBTokenMiddleware(plain_asgi(), guard)
        assert asyncio.run(call_asgi(app, http_scope("/v26.0/dialog/oauth"))).status == 401
    assert caplog.messages == []
