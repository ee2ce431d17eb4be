"""Falcon, Litestar and Quart: the plain doors around them, and decorated views inside."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import ModuleType
from typing import Any

import falcon
import falcon.asgi
import flask
import httpx
import litestar
import pytest
import quart
from asgiref.wsgi import WsgiToAsgi
from fastapi import FastAPI
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from fbguard import (
    Guard,
    OAuthException,
    Policy,
    Refused,
    Requirement,
    Rule,
    asgi,
    current_token,
    require_fb_token,
    wsgi,
)
from fbguard.context import TOKEN
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.litestar import EXCEPTION_HANDLERS
from fbguard.sandbox import Sandbox
from tests.support import PATIENCE, http_scope

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

USER = "1001"
PAGES = "pages_show_list"
Send = Callable[..., httpx.Response]


def seen(carried: object = None) -> dict[str, object]:
    info = current_token()
    assert carried is None or carried is info
    return {"user": None if info is None else info.user_id}


def dead() -> OAuthException:
    return OAuthException("Session has expired", code=190, subcode=463)


def mistake() -> OAuthException:
    return OAuthException("(#100) Tried accessing nonexisting field", code=100)


def falcon_app(asynchronous: bool) -> Any:
    """The same resources in both colours of Falcon."""
    app: Any = falcon.asgi.App() if asynchronous else falcon.App()

    def resource(answer: Callable[..., object], **required: Any) -> object:
        async def on_get_later(self: object, req: Any, resp: Any, **params: Any) -> None:
            resp.media = answer(**params)

        def on_get(self: object, req: Any, resp: Any, **params: Any) -> None:
            resp.media = answer(**params)

        method: Any = on_get_later if asynchronous else on_get
        if required.pop("guarded", False):
            method = require_fb_token(**required)(method)
        return type("Resource", (), {"on_get": method})()

    def raising(error: Callable[[], Exception]) -> Callable[..., object]:
        def answer() -> object:
            raise error()

        return answer

    app.add_route("/health", resource(seen))
    app.add_route("/me", resource(seen))
    app.add_route("/email", resource(seen, guarded=True, scopes=["email"]))
    app.add_route("/optional", resource(seen, guarded=True, optional=True))
    app.add_route(
        "/pages/{page_id}",
        resource(lambda page_id: seen() | {"page": page_id}, guarded=True, scopes=[PAGES], target="page_id"),
    )
    app.add_route("/dead", resource(raising(dead)))
    app.add_route("/dead-guarded", resource(raising(dead), guarded=True))
    app.add_route("/mistake", resource(raising(mistake)))
    return app


def litestar_app(**options: Any) -> litestar.Litestar:
    @litestar.get("/health")
    async def health() -> dict[str, object]:
        return seen()

    @litestar.get("/me")
    async def me(request: litestar.Request[Any, Any, Any]) -> dict[str, object]:
        return seen(request.state.fb_token)

    @litestar.get("/email")
    @require_fb_token(scopes=["email"])
    async def email() -> dict[str, object]:
        return seen()

    @litestar.get("/optional", sync_to_thread=False)
    @require_fb_token(optional=True)
    def optional() -> dict[str, object]:
        return seen()

    @litestar.get("/pages/{page_id:str}")
    @require_fb_token(scopes=[PAGES], target="page_id")
    async def page(request: litestar.Request[Any, Any, Any]) -> dict[str, object]:
        return seen() | {"page": request.path_params["page_id"]}

    @litestar.get("/dead")
    async def dies() -> dict[str, object]:
        raise dead()

    @litestar.get("/dead-guarded")
    @require_fb_token
    async def dies_guarded() -> dict[str, object]:
        raise dead()

    @litestar.get("/mistake")
    async def mistaken() -> dict[str, object]:
        raise mistake()

    handlers = [health, me, email, optional, page, dies, dies_guarded, mistaken]
    return litestar.Litestar(handlers, openapi_config=None, **options)


def quart_app() -> quart.Quart:
    app = quart.Quart("fbguard.tests")

    @app.get("/health")
    async def health() -> dict[str, object]:
        return seen()

    @app.get("/me")
    async def me() -> dict[str, object]:
        return seen(quart.g.fb_token)

    @app.get("/email")
    @require_fb_token(scopes=["email"])
    async def email() -> dict[str, object]:
        return seen(quart.g.fb_token)

    @app.get("/optional")
    @require_fb_token(optional=True)
    def optional() -> dict[str, object]:
        return seen(quart.g.fb_token)

    @app.get("/pages/<int:page_id>")
    @require_fb_token(scopes=[PAGES], target="page_id")
    async def page(page_id: int) -> dict[str, object]:
        return seen() | {"page": str(page_id)}

    @app.get("/dead")
    async def dies() -> dict[str, object]:
        raise dead()

    @app.get("/dead-guarded")
    @require_fb_token
    async def dies_guarded() -> dict[str, object]:
        raise dead()

    @app.get("/mistake")
    async def mistaken() -> dict[str, object]:
        raise mistake()

    return app


APPS: dict[str, Callable[[], Any]] = {
    "falcon-asgi": lambda: falcon_app(True),
    "falcon-wsgi": lambda: falcon_app(False),
    "litestar": litestar_app,
    "quart": quart_app,
}
RULES = Policy(Rule("/health", public=True), Rule("/optional", optional=True))


@pytest.fixture
def facebook() -> Sandbox:
    return Sandbox()


@pytest.fixture
def guard(facebook: Sandbox) -> Iterator[Guard]:
    with facebook.guard() as guard:
        yield guard


def sender(app: Any, *, in_wsgi: bool) -> Send:
    """Return what sends one request in this process."""

    def send(path: str, token: str | None = None, method: str = "GET", **headers: str) -> httpx.Response:
        given = ({} if token is None else {"Authorization": f"Bearer {token}"}) | headers
        if in_wsgi:
            with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://localhost") as client:
                return client.request(method, path, headers=given)

        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers=given)

        return asyncio.run(main())

    return send


def sender_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def door(name: str, guard: Guard, policy: Policy | None) -> Send:
    in_wsgi = name.endswith("wsgi")
    middleware: Any = wsgi.FBTokenMiddleware if in_wsgi else asgi.FBTokenMiddleware
    return sender(middleware(APPS[name](), guard, policy=policy), in_wsgi=in_wsgi)


@pytest.fixture(params=APPS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["rules", "views"])
def send(request: pytest.FixtureRequest, name: str, guard: Guard) -> Send:
    """Send to an app whose door judges by rules, or leaves it to the views."""
    return door(name, guard, RULES if request.param == "rules" else None)


def reason(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.content))
    return answer.status_code, answer.json()["reason"]


def test_who_may_gets_in(send, facebook):
    token = facebook.issue_token(
        user_id=USER, scopes=["email", PAGES], granular_scopes={PAGES: ["501"], "email": None}
    )
    for _ in range(2):
        for path in ("/email", "/optional", "/pages/501"):
            answer = send(path, token)
            assert (answer.status_code, answer.json()["user"]) == (200, USER)
    assert send("/health").json() == {"user": None}
    assert send("/optional").json() == {"user": None}


def test_a_door_judges_what_no_view_asks_for(name, guard, facebook):
    send = door(name, guard, RULES)
    assert reason(send("/me")) == (401, "missing_token")
    assert reason(send("/nowhere")) == (401, "missing_token")
    token = facebook.issue_token(user_id=USER)
    assert send("/me", token).json() == {"user": USER}
    assert send("/nowhere", token).status_code == 404


def test_who_may_not_hears_why(send, facebook):
    plain = facebook.issue_token(scopes=["public_profile"])
    answer = send("/email", plain)
    assert reason(answer) == (403, "insufficient_scope")
    assert answer.json()["relogin"]["scopes"] == ["email"]
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert reason(send("/email")) == (401, "missing_token")
    assert reason(send("/email", facebook.issue_token(scopes=["email"], expires_in=-5))) == (401, "expired")
    assert reason(send("/optional", facebook.issue_token(app_id="999"))) == (401, "wrong_app")
    facebook.fail(500)
    answer = send("/email", facebook.issue_token(scopes=["email"]))
    assert reason(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_targets_are_the_frameworks_own_parameters(send, facebook):
    token = facebook.issue_token(scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    assert send("/pages/501", token).json()["page"] == "501"
    assert reason(send("/pages/502", token)) == (403, "insufficient_target")


@pytest.mark.parametrize("path", ["/dead", "/dead-guarded"])
def test_what_graph_says_to_a_view_is_answered_and_the_token_looked_up_anew(name, guard, facebook, path):
    send, token = door(name, guard, RULES), facebook.issue_token()
    assert send("/me", token).status_code == 200
    answer = send(path, token)
    assert reason(answer) == (401, "expired")
    assert (answer.json()["code"], answer.json()["subcode"]) == (190, 463)
    assert guard.peek(token) is None


def test_what_is_the_applications_own_matter_stays_so(name, guard, facebook):
    """It gets what the framework answers to any exception."""
    token = facebook.issue_token()
    answer = door(name, guard, RULES)("/mistake", token)
    assert answer.status_code == 500
    assert answer.content
    assert b"fbguard" not in answer.content
    assert guard.peek(token) is not None


def test_what_is_the_applications_own_matter_goes_to_the_handler_that_it_has(guard, facebook):
    def in_litestar(request: Any, error: Exception) -> litestar.Response[Any]:
        return litestar.Response({}, status_code=418)

    async def in_quart(error: Exception) -> tuple[dict[str, str], int]:
        return {}, 418

    def in_falcon(req: Any, resp: Any, error: Exception, params: Any) -> None:
        resp.status = 418

    async def in_async_falcon(req: Any, resp: Any, error: Exception, params: Any) -> None:
        resp.status = 418

    apps: dict[str, Any] = {name: make() for name, make in APPS.items()}
    apps["litestar"] = litestar_app(exception_handlers={Exception: in_litestar})
    apps["quart"].register_error_handler(Exception, in_quart)
    apps["falcon-wsgi"].add_error_handler(Exception, in_falcon)
    apps["falcon-asgi"].add_error_handler(Exception, in_async_falcon)
    for name, app in apps.items():
        in_wsgi = name.endswith("wsgi")
        middleware: Any = wsgi.FBTokenMiddleware if in_wsgi else asgi.FBTokenMiddleware
        send = sender(middleware(app, guard), in_wsgi=in_wsgi)
        assert send("/mistake", facebook.issue_token()).status_code == 418, name
        assert send("/dead", facebook.issue_token()).status_code == 401, name


def test_the_same_answer_as_any_other_view_gets(send, facebook, guard):
    """Byte for byte: a refusal by a view is the one that a door gives."""
    token = facebook.issue_token(scopes=["public_profile"])
    with pytest.raises(Refused) as caught:
        guard.check(token, Requirement(scopes=["email"]))
    expected = caught.value.answer()
    answer = send("/email", token)
    assert answer.content == expected.body
    for header, value in expected.headers:
        assert answer.headers.get_list(header) == [value], header


def test_a_browser_gets_a_page_in_the_persons_language(send, facebook):
    token = facebook.issue_token(scopes=["public_profile"])
    answer = send("/email", token, accept="text/html", **{"accept-language": "id"})
    assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert answer.headers["content-language"] == "id"
    assert answer.text.startswith('<!doctype html><html lang="id">')


def test_a_hundred_refusals_leave_no_record(send, facebook, caplog):
    token = facebook.issue_token(scopes=["public_profile"])
    caplog.set_level(logging.INFO)
    for _ in range(50):
        assert send("/email", token).status_code == 403
        assert send("/email").status_code == 401
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_without_a_guard_it_is_a_mistake_of_the_application(name, facebook):
    token = facebook.issue_token(scopes=["email"])
    answer = sender(APPS[name](), in_wsgi=name.endswith("wsgi"))("/email", token)
    assert answer.status_code == 500


# -- the application's own guard, and its own words ---------------------------------------------------------


def test_litestar_without_a_door(guard, facebook):
    @litestar.get("/email")
    @require_fb_token(scopes=["email"])
    async def email(request: litestar.Request[Any, Any, Any]) -> dict[str, object]:
        return seen(request.state.fb_token)

    @litestar.get("/dead")
    @require_fb_token
    async def dies(request: litestar.Request[Any, Any, Any]) -> dict[str, object]:
        raise dead()

    app = litestar.Litestar([email, dies], openapi_config=None, exception_handlers=dict(EXCEPTION_HANDLERS))
    app.state.fbguard = guard
    send = sender(app, in_wsgi=False)
    assert send("/email", facebook.issue_token(scopes=["email"], user_id=USER)).json() == {"user": USER}
    assert reason(send("/email", facebook.issue_token())) == (403, "insufficient_scope")
    assert reason(send("/dead", facebook.issue_token())) == (401, "expired")


def test_quart_without_a_door(guard, facebook):
    app = quart_app()
    app.extensions["fbguard"] = guard
    send = sender(app, in_wsgi=False)
    assert send("/email", facebook.issue_token(scopes=["email"], user_id=USER)).json() == {"user": USER}
    assert reason(send("/email", facebook.issue_token())) == (403, "insufficient_scope")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_falcon_without_a_door(guard, facebook, asynchronous):
    class Resource:
        if asynchronous:

            @require_fb_token(scopes=["email"], guard=guard)
            async def on_get(self, req: Any, resp: Any) -> None:
                resp.media = seen()
        else:

            @require_fb_token(scopes=["email"], guard=guard)
            def on_get(self, req: Any, resp: Any) -> None:
                resp.media = seen()

    app: Any = falcon.asgi.App() if asynchronous else falcon.App()
    app.add_route("/email", Resource())
    send = sender(app, in_wsgi=not asynchronous)
    assert send("/email", facebook.issue_token(scopes=["email"], user_id=USER)).json() == {"user": USER}
    assert reason(send("/email", facebook.issue_token())) == (403, "insufficient_scope")


def test_an_apps_own_handler_stays(guard, facebook):
    def own(request: Any, error: Exception) -> litestar.Response[Any]:
        return litestar.Response({"mine": str(request.url.path)}, status_code=418)

    in_litestar = litestar_app(exception_handlers={Refused: own, OAuthException: own})
    send = sender(asgi.FBTokenMiddleware(in_litestar, guard), in_wsgi=False)
    assert send("/email", facebook.issue_token()).status_code == 418
    assert send("/dead", facebook.issue_token()).status_code == 418

    in_quart = quart_app()

    async def mine(error: Exception) -> tuple[dict[str, str], int]:
        return {"mine": "yes"}, 418

    in_quart.register_error_handler(OAuthException, mine)
    send = sender(asgi.FBTokenMiddleware(in_quart, guard), in_wsgi=False)
    assert send("/dead", facebook.issue_token()).status_code == 418

    in_falcon: Any = falcon_app(False)

    def say(req: Any, resp: Any, error: Exception, params: Any) -> None:
        resp.status = 418

    in_falcon.add_error_handler(OAuthException, say)
    send = sender(wsgi.FBTokenMiddleware(in_falcon, guard), in_wsgi=True)
    assert send("/dead", facebook.issue_token()).status_code == 418


def test_two_doors_teach_an_app_once(guard):
    app = quart_app()
    for _ in range(3):
        asgi.FBTokenMiddleware(app, guard)
    assert len(app.before_request_funcs[None]) == 1


class Mine(OAuthException):
    """An exception of the application that is one of ours, too."""


def test_an_exception_of_the_applications_own_that_is_one_of_ours_too(guard, facebook):
    def raising(*_args: Any, **_options: Any) -> Any:
        raise Mine("(#100) Tried accessing nonexisting field", code=100)

    async def raising_later(*_args: Any, **_options: Any) -> Any:
        raising()

    in_quart, in_falcon, in_async_falcon = quart_app(), falcon_app(False), falcon_app(True)
    in_quart.add_url_rule("/mine", view_func=raising_later)
    in_falcon.add_route("/mine", type("Resource", (), {"on_get": raising})())
    in_async_falcon.add_route("/mine", type("Resource", (), {"on_get": raising_later})())

    @litestar.get("/mine")
    async def mine() -> dict[str, object]:
        return await raising_later()

    in_litestar = litestar.Litestar([mine], openapi_config=None)
    for app in (in_quart, in_async_falcon, in_litestar):
        send = sender(asgi.FBTokenMiddleware(app, guard), in_wsgi=False)
        answer = send("/mine", facebook.issue_token())
        assert answer.status_code == 500
        assert "internal server error" in answer.text.lower()  # the framework's own words for it
    send = sender(wsgi.FBTokenMiddleware(in_falcon, guard), in_wsgi=True)
    assert send("/mine", facebook.issue_token()).status_code == 500


@pytest.mark.parametrize("kind", [Exception, 500])
def test_handlers_of_litestars_routes_come_before_the_apps(guard, facebook, kind):
    def own(request: Any, error: Exception) -> litestar.Response[Any]:
        return litestar.Response({}, status_code=418)

    @litestar.get("/mistake", exception_handlers={kind: own})
    async def mistaken() -> dict[str, object]:
        raise mistake()

    @litestar.get("/dead", exception_handlers={kind: own})
    async def dies() -> dict[str, object]:
        raise dead()

    send = sender(
        asgi.FBTokenMiddleware(litestar.Litestar([mistaken, dies], openapi_config=None), guard), in_wsgi=False
    )
    assert send("/mistake", facebook.issue_token()).status_code == 418
    assert reason(send("/dead", facebook.issue_token())) == (401, "expired")


def test_what_litestar_keeps_is_not_given_to_others(guard, facebook, caplog):
    """Its cache answers before a decorator is asked; so such a handler never answers at all."""

    @litestar.get("/kept", cache=60)
    @require_fb_token(scopes=["email"])
    async def kept(request: litestar.Request[Any, Any, Any]) -> dict[str, object]:
        return seen()

    app = litestar.Litestar([kept], openapi_config=None)
    send = sender(asgi.FBTokenMiddleware(app, guard, policy=None), in_wsgi=False)
    for _ in range(2):
        assert send("/kept", facebook.issue_token(scopes=["email"], user_id=USER)).status_code == 500
        assert USER not in send("/kept").text


@pytest.mark.parametrize("framework", ["falcon", "litestar", "quart"])
def test_a_module_of_that_name_is_not_yet_the_framework(monkeypatch, guard, facebook, framework):
    for found in (ModuleType(framework), None):
        monkeypatch.setitem(sys.modules, framework, found)  # type: ignore[arg-type]
        app = asgi.FBTokenMiddleware(_plain, guard)
        token = facebook.issue_token(scopes=["email"], user_id=USER)
        assert sender(app, in_wsgi=False)("/", token).json() == {"user": USER}


@require_fb_token(scopes=["email"])
async def _plain(scope: Any, receive: Any, send: Any) -> None:
    body = json.dumps({"user": scope[TOKEN].user_id}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


# -- one path, read in one way ------------------------------------------------------------------------------

ADMIN = Policy(
    Rule("/static/{rest:path}", public=True),
    Rule("/admin/{rest:path}", scopes=["email"]),
    Rule("/api/admin/{rest:path}", scopes=["email"]),
)


def admin_app(name: str) -> Any:
    if name == "falcon":
        app: Any = falcon.asgi.App()

        class Resource:
            async def on_get(self, req: Any, resp: Any, **params: Any) -> None:
                resp.media = seen()

        for path in ("/admin/{x}", "/api/admin/{x}"):
            app.add_route(path, Resource())
        return app
    if name == "quart":
        inside = quart.Quart("fbguard.tests")

        async def view(**_parameters: Any) -> dict[str, object]:
            return seen()

        for number, path in enumerate(("/admin/<x>", "/static-of-app/<path:x>")):
            inside.add_url_rule(path, f"view{number}", view)
        return inside

    @litestar.get(["/admin/{x:str}", "/static/{x:path}"])
    async def handler() -> dict[str, object]:
        return seen()

    return litestar.Litestar([handler], openapi_config=None)


@pytest.mark.parametrize("framework", ["falcon", "litestar", "quart"])
@pytest.mark.parametrize("root", ["/api", "/api/"])
@pytest.mark.parametrize(
    "path", ["/api/admin/x", "/apiadmin/x", "/static/api/admin/x", "/admin/x", "/api/apiadmin/x"]
)
def test_guard_and_router_read_one_path_one_way_below_a_root_path(guard, facebook, framework, path, root):
    """Nobody without the scope reaches the admin's handler, whatever the framework makes of root_path."""
    inner = asgi.FBTokenMiddleware(admin_app(framework), guard, policy=ADMIN)

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope | {"root_path": root}, receive, send)

    send = sender(served, in_wsgi=False)
    assert send(path).status_code in {400, 401, 404}
    assert send(path, facebook.issue_token()).status_code in {400, 403, 404}
    if path == "/api/admin/x" and (root == "/api" or framework == "falcon"):
        assert send(path, facebook.issue_token(scopes=["email"])).status_code == 200


def test_a_door_in_litestars_own_middleware_reads_the_path_that_is_left(guard, facebook):
    @litestar.get(["/x", "/api/x"])
    async def handler() -> dict[str, object]:
        return seen()

    inside = litestar.Litestar(
        [handler],
        openapi_config=None,
        middleware=[
            DefineMiddleware(asgi.FBTokenMiddleware, guard=guard, policy=Policy(Rule("/x", public=True)))
        ],
    )

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await inside(scope | {"root_path": "/api"}, receive, send)

    send = sender(served, in_wsgi=False)
    assert send("/api/x").json() == {"user": None}
    assert reason(send("/api/api/x")) == (401, "missing_token")
    assert send("/api/api/x", facebook.issue_token(user_id=USER)).json() == {"user": USER}


def test_falcon_mounted_in_starlette_has_its_own_parameters(guard, facebook):
    app: Any = falcon.asgi.App()

    class Resource:
        @require_fb_token(scopes=[PAGES], target="page_id")
        async def on_get(self, req: Any, resp: Any, x: str, page_id: str) -> None:
            resp.media = {"page": page_id}

    app.add_route("/m/{x}/{page_id}", Resource())
    around = Starlette(routes=[Mount("/m/{page_id}", app=app)])
    send = sender(asgi.FBTokenMiddleware(around, guard), in_wsgi=False)
    token = facebook.issue_token(scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    assert reason(send("/m/501/502", token)) == (403, "insufficient_target")
    assert send("/m/502/501", token).json() == {"page": "501"}


# -- requests in requests -----------------------------------------------------------------------------------


def _doorless_quart(guard: Guard) -> quart.Quart:
    app = quart.Quart("fbguard.tests.inner")

    @app.get("/")
    @require_fb_token(scopes=["email"], guard=guard)
    async def secret() -> dict[str, object]:
        return seen()

    return app


def _doorless_flask(guard: Guard) -> flask.Flask:
    app = flask.Flask("fbguard.tests.inner")

    @app.get("/")
    @require_fb_token(scopes=["email"], guard=guard)
    def secret() -> dict[str, object]:
        return seen()

    return app


@pytest.mark.parametrize("inner", ["quart", "flask"])
@pytest.mark.parametrize("outer", ["quart", "starlette", "flask"])
@pytest.mark.parametrize("has_token", [True, False])
def test_an_app_without_a_door_is_not_let_in_by_the_request_around_it(
    guard, facebook, inner, outer, has_token
):
    """It is judged for its own token, or, where nobody can tell which request is which, not at all."""
    headers = sender_headers(facebook.issue_token(user_id="2")) if has_token else {}
    transport: Any = (
        httpx.ASGITransport(_doorless_quart(guard), raise_app_exceptions=False)
        if inner == "quart"
        else httpx.WSGITransport(_doorless_flask(guard), raise_app_exceptions=False)
    )

    async def ask() -> int:
        if inner == "quart":
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return (await client.get("/", headers=headers)).status_code
        with httpx.Client(transport=transport, base_url="http://localhost") as sync_client:
            return sync_client.get("/", headers=headers).status_code

    if outer == "quart":
        app: Any = quart.Quart("fbguard.tests.outer")

        @app.get("/outer")
        @require_fb_token(scopes=["email"])
        async def outer_view() -> dict[str, object]:
            return {"inner": await ask(), **seen(quart.g.fb_token)}
    elif outer == "flask":
        in_flask = flask.Flask("fbguard.tests.outer")

        @in_flask.get("/outer")
        @require_fb_token(scopes=["email"])
        def outer_view_of_flask() -> dict[str, object]:
            with ThreadPoolExecutor(1) as pool:
                status = pool.submit(copy_context().run, asyncio.run, ask()).result(PATIENCE)
            return {"inner": status, **seen(flask.g.fb_token)}

        FBGuard(in_flask, guard)
        answer = sender(in_flask, in_wsgi=True)(
            "/outer", facebook.issue_token(scopes=["email"], user_id=USER)
        ).json()
        assert answer["inner"] in ({403, 500} if has_token else {401, 500})
        assert answer["user"] == USER
        return
    else:

        @require_fb_token(scopes=["email"])
        async def endpoint(request: Any) -> JSONResponse:
            return JSONResponse({"inner": await ask(), **seen()})

        app = Starlette(routes=[Route("/outer", endpoint)])
    send = sender(asgi.FBTokenMiddleware(app, guard), in_wsgi=False)
    answer = send("/outer", facebook.issue_token(scopes=["email"], user_id=USER)).json()
    assert answer["inner"] in ({403, 500} if has_token else {401, 500})
    assert answer["user"] == USER


def test_g_is_this_requests_after_a_view_has_asked_its_own_app(guard, facebook):
    app = quart.Quart("fbguard.tests")
    lesser = facebook.issue_token(user_id="2")

    @app.get("/inner")
    async def inner() -> dict[str, object]:
        return seen(quart.g.fb_token)

    @app.get("/open")
    async def open_to_all() -> dict[str, object]:
        assert quart.g.fb_token is None
        return seen()

    @app.get("/outer")
    async def outer() -> dict[str, object]:
        client = app.test_client()
        for path, headers in (("/inner", sender_headers(lesser)), ("/open", {})):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 200
            assert quart.g.fb_token is current_token()
        return seen(quart.g.fb_token)

    app.asgi_app = asgi.FBTokenMiddleware(  # type: ignore[method-assign]
        app.asgi_app, guard, policy=Policy(Rule("/open", public=True))
    )
    answer = sender(app, in_wsgi=False)("/outer", facebook.issue_token(user_id=USER))
    assert answer.json() == {"user": USER}


def test_a_copied_request_of_quart_is_judged_for_its_own_token_whatever_runs_before_the_view(guard, facebook):
    app = quart.Quart("fbguard.tests")
    weak = facebook.issue_token(user_id="2")

    @app.before_request
    @require_fb_token
    async def before() -> None:
        assert current_token() is not None

    @require_fb_token
    async def helper() -> None:
        """Be something of the application's that is guarded, too."""

    @app.get("/inner")
    @require_fb_token(scopes=["email"])
    async def inner() -> dict[str, object]:
        return seen()

    @app.get("/outer")
    async def outer() -> dict[str, object]:
        sent: list[dict[str, Any]] = []
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {weak}".encode())]
        copied = {**quart.request.scope, "path": "/inner", "headers": headers}
        await helper()

        incoming, answered = [{"type": "http.request", "body": b""}], asyncio.Event()

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        await app.asgi_app(copied, receive, send)
        return {"inner": sent[0]["status"], **seen(quart.g.fb_token)}

    for policy in (Policy(), None):
        send = sender(asgi.FBTokenMiddleware(app, guard, policy=policy), in_wsgi=False)
        answer = send("/outer", facebook.issue_token(scopes=["email"], user_id=USER))
        assert answer.json() == {"inner": 403, "user": USER}


@pytest.mark.parametrize("outer", ["flask", "quart"])
@pytest.mark.parametrize("inner", ["fastapi", "litestar", "quart", "flask"])
def test_an_app_with_a_door_is_judged_for_its_own_token_in_another_apps_view(guard, facebook, outer, inner):
    """Also a view that takes no request: its framework or its door tells whose request it is."""
    weak = facebook.issue_token(user_id="2")
    asked: Any
    if inner == "fastapi":
        asked = FastAPI()
        asked.get("/inner")(_inner_view)
    elif inner == "litestar":
        asked = litestar.Litestar([litestar.get("/inner")(_inner_view)], openapi_config=None)
    else:
        asked = (quart.Quart if inner == "quart" else flask.Flask)("fbguard.tests.inner")
        asked.add_url_rule("/inner", view_func=_inner_view if inner == "quart" else _inner_view_now)
    if inner == "flask":
        transport: Any = httpx.WSGITransport(wsgi.FBTokenMiddleware(asked, guard, policy=None))
    else:
        transport = httpx.ASGITransport(asgi.FBTokenMiddleware(asked, guard, policy=None))

    async def ask() -> list[int]:
        statuses = []
        for headers in (sender_headers(weak), {}):
            if inner == "flask":
                with httpx.Client(transport=transport, base_url="http://localhost") as client:
                    statuses.append(client.get("/inner", headers=headers).status_code)
            else:
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as later:
                    statuses.append((await later.get("/inner", headers=headers)).status_code)
        return statuses

    token = facebook.issue_token(scopes=["email"], user_id=USER)
    if outer == "quart":
        around: Any = quart.Quart("fbguard.tests.outer")

        @around.get("/outer")
        @require_fb_token(scopes=["email"])
        async def outer_view() -> dict[str, object]:
            return {"inner": await ask(), **seen(quart.g.fb_token)}

        answer = sender(asgi.FBTokenMiddleware(around, guard), in_wsgi=False)("/outer", token)
    else:
        around = flask.Flask("fbguard.tests.outer")

        @around.get("/outer")
        @require_fb_token(scopes=["email"])
        def outer_view_of_flask() -> dict[str, object]:
            with ThreadPoolExecutor(1) as pool:  # a loop of its own, in this context
                statuses = pool.submit(copy_context().run, asyncio.run, ask()).result(PATIENCE)
            return {"inner": statuses, **seen(flask.g.fb_token)}

        FBGuard(around, guard)
        answer = sender(around, in_wsgi=True)("/outer", token)
    assert answer.json() == {"inner": [403, 401], "user": USER}


@require_fb_token(scopes=["email"])
async def _inner_view() -> dict[str, object]:
    return seen()


@require_fb_token(scopes=["email"])
def _inner_view_now() -> dict[str, object]:
    return seen()


def test_what_litestar_keeps_is_not_given_to_others_where_it_is_mounted(guard, facebook):
    @litestar.get("/kept", cache=60)
    @require_fb_token(scopes=["email"])
    async def kept() -> dict[str, object]:
        return seen()

    app = Starlette(routes=[Mount("/l", app=litestar.Litestar([kept], openapi_config=None))])
    send = sender(asgi.FBTokenMiddleware(app, guard, policy=None), in_wsgi=False)
    for _ in range(2):
        assert send("/l/kept", facebook.issue_token(scopes=["email"], user_id=USER)).status_code == 500


# -- WebSockets, streams ------------------------------------------------------------------------------------


def handshake(app: Any, path: str, token: str) -> list[dict[str, Any]]:
    """Open a WebSocket; return what the server is told."""
    sent: list[dict[str, Any]] = []

    async def main() -> None:
        incoming = [{"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = http_scope(
            path, headers=list(sender_headers(token).items()), type="websocket", subprotocols=[]
        )
        scope["scheme"] = "ws"
        del scope["method"]
        await app(scope, receive, send)

    asyncio.run(main())
    return sent


def test_falcons_websockets(guard, facebook, caplog):
    app: Any = falcon.asgi.App()

    class Socket:
        @require_fb_token(scopes=["email"])
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept()

    class Failing:
        async def on_websocket(self, req: Any, ws: Any) -> None:
            raise mistake()

    app.add_route("/socket", Socket())
    app.add_route("/failing", Failing())
    behind = asgi.FBTokenMiddleware(app, guard)
    assert (
        handshake(behind, "/socket", facebook.issue_token(scopes=["email"]))[0]["type"] == "websocket.accept"
    )
    caplog.clear()
    (refused,) = handshake(behind, "/socket", facebook.issue_token())
    assert (refused["type"], refused["code"]) == ("websocket.close", 1008)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
    (failed,) = handshake(behind, "/failing", facebook.issue_token())
    assert (failed["type"], failed["code"]) == ("websocket.close", 1011)  # as Falcon ends any that fails


def test_litestars_and_quarts_websockets_are_refused_before_they_are_accepted(guard, facebook):
    @litestar.websocket("/socket")
    @require_fb_token(scopes=["email"])
    async def handler(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.close()

    in_quart = quart.Quart("fbguard.tests")

    @in_quart.websocket("/socket")
    @require_fb_token(scopes=["email"])
    async def view() -> None:
        await quart.websocket.accept()

    for app in (litestar.Litestar([handler], openapi_config=None), in_quart):
        behind = asgi.FBTokenMiddleware(app, guard)
        kinds = [one["type"] for one in handshake(behind, "/socket", facebook.issue_token(scopes=["email"]))]
        assert kinds[0] == "websocket.accept"
        kinds = [one["type"] for one in handshake(behind, "/socket", facebook.issue_token())]
        assert kinds == ["websocket.close"]


def test_what_falcon_streams_is_cut_by_a_rule_or_not_promised(guard, facebook):
    class Resource:
        @require_fb_token(live=True)
        def on_get(self, req: Any, resp: Any) -> None:
            resp.stream = iter([b"part"])

    app: Any = falcon.App()
    app.add_route("/live", Resource())
    token = facebook.issue_token()
    send = sender(wsgi.FBTokenMiddleware(app, guard), in_wsgi=True)
    assert send("/live", token).status_code == 500  # a RuntimeError says why
    by_rule = Policy(Rule("/live", live=True))
    send = sender(wsgi.FBTokenMiddleware(app, guard, policy=by_rule), in_wsgi=True)
    assert send("/live", token).content == b"part"


@pytest.mark.filterwarnings("ignore:async_to_sync was passed:UserWarning")  # by asgiref to itself
def test_falcon_of_wsgi_below_a_door_of_asgi(guard, facebook):
    behind = asgi.FBTokenMiddleware(WsgiToAsgi(falcon_app(False)), guard)
    send = sender(behind, in_wsgi=False)
    assert send("/email", facebook.issue_token(scopes=["email"], user_id=USER)).json() == {"user": USER}
    assert reason(send("/email", facebook.issue_token())) == (403, "insufficient_scope")


@pytest.mark.parametrize("has_door", [True, False])
def test_a_view_of_quart_that_asks_another_app_with_a_lesser_token(guard, facebook, has_door):
    """The other app's view is judged for the token that it is given, not for the one around it."""
    lesser = facebook.issue_token(scopes=["public_profile"], user_id="2")

    @require_fb_token(scopes=["email"], guard=guard)
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps({"user": scope[TOKEN].user_id}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    behind: Any = asgi.FBTokenMiddleware(inner, guard, policy=None) if has_door else inner
    app = quart.Quart("fbguard.tests")

    @app.get("/outer")
    @require_fb_token(scopes=["email"])
    async def outer() -> dict[str, object]:
        transport = httpx.ASGITransport(behind, raise_app_exceptions=has_door)
        async with httpx.AsyncClient(transport=transport, base_url="http://inner") as client:
            refused = await client.get("/", headers={"Authorization": f"Bearer {lesser}"})
        return {"inner": refused.status_code, **seen(quart.g.fb_token)}

    send = sender(asgi.FBTokenMiddleware(app, guard), in_wsgi=False)
    answer = send("/outer", facebook.issue_token(scopes=["email"], user_id=USER))
    assert answer.json() == {"inner": 403 if has_door else 500, "user": USER}


def test_middleware_that_copies_the_scope(guard, facebook):
    for name in ("litestar", "quart", "falcon-asgi"):
        inner = APPS[name]()

        async def copying(scope: Any, receive: Any, send: Any, inner: Any = inner) -> None:
            await inner(dict(scope), receive, send)

        send = sender(asgi.FBTokenMiddleware(copying, guard, policy=None), in_wsgi=False)
        assert send("/email", facebook.issue_token(scopes=["email"], user_id=USER)).json() == {"user": USER}
        assert send("/email", facebook.issue_token()).status_code in {403, 500}
