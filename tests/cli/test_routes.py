"""``fbguard routes``: what it says of a route is what happens to a request without a token."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import flask
import httpx
import pytest
import quart
from fastapi import APIRouter, Depends, FastAPI, Request
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from fbguard import Guard, Policy, Requirement, Rule, require_fb_token
from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.cli.commands import app as program
from fbguard.cli.coverage.apps import views_of
from fbguard.cli.coverage.judging import judged
from fbguard.cli.coverage.rules import notes_of
from fbguard.cli.coverage.templates import of_angles, of_braces
from fbguard.cli.coverage.views import Place, named
from fbguard.cli.routes import run as run_routes
from fbguard.integrations.fastapi import FBToken, OptionalFBToken
from fbguard.integrations.flask import FBGuard
from fbguard.sandbox import Sandbox
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor
from tests.cli.processes import FBGUARD, fbguard, run
from tests.support import call_asgi, http_scope, make_guard

RULES = Policy(
    Rule("/health", public=True),
    Rule("/pages/new", public=True),
    Rule("/pages/{page_id}", scopes=["pages_show_list"], target="page_id"),
    Rule("/news/{rest:path}", optional=True),
    Rule("/report", methods=["GET"], public=True),
    Rule("/static/{rest:path}", public=True),
)


@pytest.fixture
def guard():
    with make_guard() as guard:
        yield guard


def verdicts(app: object, *meant: str) -> dict[tuple[str, str], str]:
    """Return the verdict by path and verb."""
    rules = [Rule(path, public=True) for path in meant]
    found = [one for view in views_of(app) for one in judged(view, rules)]
    return {(one.view.shown, method): one.verdict for one in found for method in one.methods}


def plain(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("in")


# -- Starlette ---------------------------------------------------------------------------------------------


@require_fb_token(scopes=["email"])
async def decorated(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("in")


@require_fb_token(optional=True)
async def optional(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("in")


@require_fb_token
class Decorated(HTTPEndpoint):
    async def get(self, request):
        return plain(request)

    async def delete(self, request):
        return plain(request)


class Plain(HTTPEndpoint):
    async def post(self, request):
        return plain(request)


STARLETTE_ROUTES = [
    Route("/health", plain),
    Route("/pages/new", plain),
    Route("/pages/{page_id:int}", plain),
    Route("/news", plain),
    Route("/news/{day}", plain),
    Route("/report", plain, methods=["GET", "POST"]),
    Route("/me", plain),
    Route("/decorated", decorated),
    Route("/partial", partial(decorated)),
    Route("/optional", optional),
    Route("/class", Decorated),
    Route("/plain-class", Plain),
]


def told(found: dict[tuple[str, str], str]) -> dict[str, str]:
    """Return the verdict by path, where all verbs have the same; else ``GET guarded, POST open``."""
    paths: dict[str, dict[str, str]] = {}
    for (path, method), verdict in found.items():
        paths.setdefault(path, {})[method] = verdict
    return {
        path: next(iter(set(by_verb.values())))
        if len(set(by_verb.values())) == 1
        else ", ".join(f"{method} {verdict}" for method, verdict in by_verb.items())
        for path, by_verb in paths.items()
    }


BY_VIEWS = {
    "/decorated": "guarded", "/partial": "guarded", "/optional": "optional", "/class": "guarded",
}  # fmt: skip
BY_DOOR = {
    "/health": "public", "/pages/new": "public", "/pages/{page_id:int}": "guarded", "/news": "optional",
    "/news/{day}": "optional", "/report": "GET public, POST guarded", "/me": "guarded",
    "/decorated": "guarded", "/partial": "guarded", "/optional": "guarded", "/class": "guarded",
    "/plain-class": "guarded",
}  # fmt: skip
SHOWN = {route.path for route in STARLETTE_ROUTES}


def starlettes(guard: Guard) -> dict[str, tuple[Any, dict[str, str]]]:
    door = partial(AsgiDoor, guard=guard)
    inside = Starlette(
        routes=STARLETTE_ROUTES,
        middleware=[Middleware(GZipMiddleware), Middleware(AsgiDoor, guard, policy=RULES)],
    )
    none = Starlette(routes=STARLETTE_ROUTES)
    none.state.fbguard = guard
    return {
        "around": (door(Starlette(routes=STARLETTE_ROUTES), policy=RULES), BY_DOOR),
        "around, in something": (GZipMiddleware(door(Router(STARLETTE_ROUTES), policy=RULES)), BY_DOOR),
        "inside": (inside, BY_DOOR),
        "nothing": (none, dict.fromkeys(SHOWN, "open") | BY_VIEWS),
        "the views decide": (
            door(Starlette(routes=STARLETTE_ROUTES), policy=None),
            dict.fromkeys(SHOWN, "open") | BY_VIEWS,
        ),
    }


@pytest.mark.parametrize("name", ["around", "around, in something", "inside", "nothing", "the views decide"])
def test_starlette(guard, name):
    app, expected = starlettes(guard)[name]
    found = verdicts(app)
    assert told(found) == expected
    asyncio.run(asked_without_a_token(app, found))
    assert found["/report", "GET"] != "guarded"
    assert {method for path, method in found if path == "/class"} == {"GET", "DELETE"}


async def asked_without_a_token(app: Any, found: dict[tuple[str, str], str]) -> None:
    """Ask each route, and compare: what is guarded answers 401, all else lets in."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for (path, method), verdict in found.items():
            answer = await client.request(method, real(path))
            assert (answer.status_code == 401) == (verdict == "guarded"), (path, method, answer.text)
            assert answer.status_code in {200, 401}


def real(path: str) -> str:
    return (
        path.replace("{page_id:int}", "7").replace("<int:page_id>", "7").replace("{page_id}", "7")
        .replace("{day}", "monday").replace("<day>", "monday").replace("<path:filename>", "x.css")
    )  # fmt: skip


def test_what_is_mounted(guard):
    inner = Starlette(routes=[Route("/health", plain), Route("/x", plain), Route("/y", decorated)])
    legacy = flask.Flask("legacy", static_folder=None)
    legacy.add_url_rule("/old", view_func=lambda: "in", endpoint="old")

    class Wsgi:  # as a2wsgi's
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            raise NotImplementedError

    door = partial(AsgiDoor, guard=guard)
    app = Starlette(
        routes=[
            Mount("/api", door(inner, policy=RULES)),
            Mount("/open", inner),
            Mount("/v1", routes=[Route("/a", plain), Mount("/b", routes=[Route("/c", decorated)])]),
            Host("admin.example", Router([Route("/admin", plain)])),
            Mount("/static", StaticFiles(directory=".", check_dir=False)),
            Mount("/legacy", Wsgi(legacy)),
            Route("/one", door(plain_app, policy=Policy())),
        ]
    )
    assert told(verdicts(app)) == {
        "/api/health": "public", "/api/x": "guarded", "/api/y": "guarded", "/open/health": "open",
        "/open/x": "open", "/open/y": "guarded", "/v1/a": "open", "/v1/b/c": "guarded", "/admin": "open",
        "/static/...": "open", "/legacy/old": "open", "/one": "guarded",
    }  # fmt: skip
    around = told(verdicts(door(app, policy=RULES)))
    assert around.pop("/static/...") == "public"
    assert set(around.values()) == {"guarded"}  # a rule of the door around names the path below no mount


async def plain_app(_scope, _receive, _send):
    raise NotImplementedError


def test_web_sockets_count_as_get(guard):
    async def endpoint(_socket):
        raise NotImplementedError

    app = AsgiDoor(Starlette(routes=[WebSocketRoute("/report", endpoint)]), guard, policy=RULES)
    assert verdicts(app) == {("/report", "GET"): "public"}


def test_an_app_of_which_nothing_is_known(guard):
    assert verdicts(plain_app) == dict.fromkeys(
        [("/...", verb) for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")], "open"
    )
    [one, other] = [
        one for view in views_of(AsgiDoor(plain_app, guard, policy=RULES)) for one in judged(view)
    ]
    assert (one.verdict, one.methods) == ("guarded", ("GET",))
    assert dict(one.except_at) == {
        "/health": "public", "/pages/new": "public", "/news/...": "optional", "/report": "public",
        "/static/...": "public",
    }  # fmt: skip
    assert "/report" not in dict(other.except_at)


# -- FastAPI -----------------------------------------------------------------------------------------------


async def nested(token: Annotated[Any, Depends(FBToken())]):
    return token


def fastapi_app(guard: Guard) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.fbguard = guard
    inner = APIRouter(prefix="/inner")
    outer = APIRouter(prefix="/outer")

    @app.get("/token")
    async def token(token: Annotated[Any, Depends(FBToken(scopes=["email"]))]):
        return "in"

    @app.get("/optional")
    async def optional(token: Annotated[Any, Depends(OptionalFBToken())]):
        return "in"

    @app.post("/nested")
    async def nested_view(token: Annotated[Any, Depends(nested)]):
        return "in"

    @app.get("/decorated")
    @require_fb_token
    async def decorated(request: Request):
        return "in"

    @app.get("/open")
    async def open_():
        return "in"

    @inner.get("/view")
    async def view():
        return "in"

    @inner.get("/report/{day}")
    async def report(day: str):
        return "in"

    outer.include_router(inner)
    app.include_router(outer, dependencies=[Depends(FBToken())])
    app.include_router(inner)
    return app


def test_fastapi(guard):
    app = fastapi_app(guard)
    found = verdicts(app)
    assert told(found) == {
        "/token": "guarded", "/optional": "optional", "/nested": "guarded", "/decorated": "guarded",
        "/open": "open", "/outer/inner/view": "guarded", "/outer/inner/report/{day}": "guarded",
        "/inner/view": "open", "/inner/report/{day}": "open",
    }  # fmt: skip
    asyncio.run(asked_without_a_token(app, found))
    assert set(told(verdicts(AsgiDoor(app, guard))).values()) == {"guarded"}


async def with_a_request(request: Request):
    return request


def decorated_site() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/none/{day}")
    @require_fb_token
    async def none(day: str):
        return "in"

    @app.get("/request")
    @require_fb_token
    async def request(request: Request):
        return "in"

    @app.get("/connection")
    @require_fb_token
    async def connection(connection: HTTPConnection):
        return "in"

    @app.get("/dependency", dependencies=[Depends(FBToken())])
    @require_fb_token(scopes=["email"])
    async def dependency():
        return "in"

    @app.get("/given")
    @require_fb_token
    async def given(request: Annotated[Any, Depends(with_a_request)]):
        return "in"

    @app.get("/optional")
    async def optional(token: Annotated[Any, Depends(OptionalFBToken())]):
        return "in"

    @app.get("/optional-decorated")
    @require_fb_token(optional=True)
    async def optional_decorated(request: Request):
        return "in"

    @app.get("/tighter")
    async def tighter(token: Annotated[Any, Depends(OptionalFBToken(scopes=["email"]))]):
        return "in"

    return app


@pytest.mark.parametrize(
    ("policy", "failing"),
    [
        (None, {}),
        (Policy(), {"/optional": "loosen", "/optional-decorated": "loosen"}),
        (Policy(Rule("/{rest:path}", optional=True)), {}),
        ("no door", {"/none/{day}": "takes no request"}),
    ],
)
def test_what_fails_for_whoever_has_a_token_is_told(policy, failing):
    sandbox = Sandbox()
    with sandbox.guard() as guard:
        site = decorated_site()
        site.state.fbguard = guard
        app = site if policy == "no door" else AsgiDoor(site, guard, policy=policy)
        said = remarks(app)
        assert {path for path, remark in said.items() if remark} == failing.keys()
        assert all(words in said[path] for path, words in failing.items())
        headers = sandbox.bearer(sandbox.issue_token(scopes=["email"]))
        assert asyncio.run(failures(app, said, headers)) == failing.keys()


async def failures(app: Any, paths: Iterable[str], headers: dict[str, str]) -> set[str]:
    """Return the paths at which a request with a token is 500."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        return {path for path in paths if (await client.get(real(path))).status_code == 500}


# -- Flask -------------------------------------------------------------------------------------------------


@require_fb_token
class FlaskDecorated(MethodView):
    def get(self):
        return "in"


class FlaskPlain(MethodView):
    decorators = (require_fb_token(scopes=["email"]),)

    def post(self):
        return "in"


def flask_app(**options: Any) -> flask.Flask:
    app = flask.Flask("app", **options)
    for path in ("/health", "/pages/new", "/pages/<int:page_id>", "/news/<day>", "/me"):
        app.add_url_rule(path, endpoint=path, view_func=lambda **_: "in")
    app.add_url_rule("/report", endpoint="report", view_func=lambda: "in", methods=["GET", "POST"])
    app.add_url_rule("/decorated", endpoint="d", view_func=require_fb_token(lambda: "in"))
    app.add_url_rule("/optional", endpoint="o", view_func=require_fb_token(optional=True)(lambda: "in"))
    app.add_url_rule("/class", view_func=FlaskDecorated.as_view("c"))
    app.add_url_rule("/decorators", view_func=FlaskPlain.as_view("p"))
    return app


FLASK_DOOR = {
    "/health": "public", "/pages/new": "public", "/pages/<int:page_id>": "guarded", "/news/<day>": "optional",
    "/me": "guarded", "/report": "GET public, POST guarded", "/decorated": "guarded", "/optional": "guarded",
    "/class": "guarded", "/decorators": "guarded",
}  # fmt: skip
FLASK_VIEWS = dict.fromkeys(FLASK_DOOR, "open") | {
    "/decorated": "guarded", "/optional": "optional", "/class": "guarded", "/decorators": "guarded",
}  # fmt: skip


@pytest.mark.parametrize("how", ["extension", "extension, the views decide", "wsgi_app", "around", "nothing"])
def test_flask(guard, how):
    app: Any = flask_app(static_folder=None)
    if how == "extension":
        FBGuard(app, guard, policy=RULES)
    elif how == "extension, the views decide":
        FBGuard(app, guard, policy=None)
    elif how == "wsgi_app":
        app.wsgi_app = WsgiDoor(app.wsgi_app, guard, policy=RULES)
    elif how == "around":
        app = WsgiDoor(app, guard, policy=RULES)
    else:
        app.extensions["fbguard"] = guard
    found = verdicts(app)
    by_door = how in {"extension", "wsgi_app", "around"}
    assert told(found) == (FLASK_DOOR if by_door else FLASK_VIEWS)
    client = Client(app)
    for (path, method), verdict in found.items():
        status = client.open(real(path), method=method).status_code
        assert (status == 401) == (verdict == "guarded"), (path, method, status)
        assert status in {200, 401}


def test_flask_with_its_static_files(guard):
    app = flask_app()
    assert verdicts(app)["/static/<path:filename>", "GET"] == "open"
    assert verdicts(WsgiDoor(app, guard, policy=RULES))["/static/<path:filename>", "GET"] == "public"


# -- what must not be called guarded -----------------------------------------------------------------------


def lets_in(app: Any, path: str, method: str = "GET") -> bool:
    """Tell whether a request without a token gets into the view."""

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return (await client.request(method, path)).status_code

    return asyncio.run(ask()) == 200


def weakest(app: Any) -> dict[str, str]:
    """Return the weaker verdicts at single paths."""
    return {
        path: verdict for view in views_of(app) for one in judged(view) for path, verdict in one.except_at
    }


def test_what_is_overridden_guards_nothing(guard):
    app = FastAPI(openapi_url=None)
    app.state.fbguard = guard

    @app.get("/me")
    async def me(token: Annotated[Any, Depends(FBToken(scopes=["email"]))]):
        return "in"

    app.dependency_overrides[FBToken(scopes=["email"])] = lambda: None
    assert lets_in(app, "/me")
    assert verdicts(app) == {("/me", "GET"): "open"}
    app.dependency_overrides[FBToken(scopes=["email"])] = FBToken()
    assert verdicts(app) == {("/me", "GET"): "guarded"}


@pytest.mark.parametrize(
    ("route", "rules", "path"),
    [
        ("/{p:path}", [Rule("/docs", scopes=["a"]), Rule("/docs/{rest:path}", public=True)], "/docs/x"),
        (
            "/files/{p:path}",
            [Rule("/files/{n}", scopes=["a"]), Rule("/files/{rest:path}", public=True)],
            "/files/a/b",
        ),
        ("/{p:path}", [Rule("/{a}/{b}/{c}"), Rule("/{a}/{rest:path}", public=True)], "/a/b/c/d"),
        ("/{a}/{b}", [Rule("/x/{b}", scopes=["a"]), Rule("/{a}/y", public=True)], "/w/y"),
    ],
)
def test_at_any_depth(guard, route, rules, path):
    app = AsgiDoor(Starlette(routes=[Route(route, plain)]), guard, policy=Policy(*rules))
    assert lets_in(app, path)
    found = weakest(app)
    assert "public" in found.values() or "public" in verdicts(app).values()
    for at in found:  # a path converter of Starlette wants the slash
        real = at.replace("...", "x/y")
        assert lets_in(app, real) or lets_in(app, f"{real}/")


def test_public_at_two_doors_only_together(guard):
    inner = AsgiDoor(
        Starlette(routes=[Route("/{a}/{b}", plain)]), guard, policy=Policy(Rule("/{x}/b", public=True))
    )
    app = AsgiDoor(inner, guard, policy=Policy(Rule("/a/{x}", public=True)))
    assert lets_in(app, "/a/b")
    assert weakest(app) == {"/a/b": "public"}


@pytest.mark.parametrize("method", ["PURGE", "HEAD"])
def test_every_verb_that_is_routed(guard, method):
    route = Route("/x", plain, methods=["GET", "PURGE", "HEAD"])
    policy = Policy(Rule("/x", methods=["PURGE", "HEAD"], public=True))
    app = AsgiDoor(Starlette(routes=[route]), guard, policy=policy)
    assert lets_in(app, "/x", method)
    assert verdicts(app) == {("/x", "GET"): "guarded", ("/x", "HEAD"): "public", ("/x", "PURGE"): "public"}


def test_an_options_of_the_apps_own(guard):
    app = flask.Flask("app", static_folder=None)
    app.add_url_rule("/x", view_func=lambda: "in", endpoint="x", methods=["GET", "OPTIONS"])
    FBGuard(app, guard, policy=Policy(Rule("/{rest:path}", methods=["OPTIONS"], public=True)))
    assert Client(app).open("/x", method="OPTIONS").text == "in"
    assert verdicts(app) == {("/x", "GET"): "guarded", ("/x", "OPTIONS"): "public"}


def test_a_verb_that_only_a_rule_knows(guard):
    app = AsgiDoor(plain_app, guard, policy=Policy(Rule("/x", methods=["REPORT"], public=True)))
    [one] = [one for view in views_of(app) for one in judged(view) if "REPORT" in one.methods]
    assert dict(one.except_at) == {"/x": "public"}


def test_a_wrapper_that_may_answer_by_itself_is_named():
    @functools.lru_cache
    @require_fb_token(scopes=["email"])
    def cached():
        return "in"

    [one] = judged(Place().view("/x", (("x",), False), cached))
    assert (one.verdict, one.wrappers) == ("guarded", (f"{__name__}.{cached.__qualname__}",))
    [one] = judged(Place().view("/x", (("x",), False), cached.__wrapped__))
    assert one.wrappers == ()


def test_below_a_mount_whose_path_varies(guard):
    site = Starlette(routes=[Mount("/{p:path}/sub", routes=[Route("/x", plain)])])
    app = AsgiDoor(site, guard, policy=Policy(Rule("/public/{rest:path}", public=True)))
    assert lets_in(app, "/public/sub/x")
    assert "public" in weakest(app).values()


class NoEndpoint:
    @require_fb_token
    async def dispatch(self, request):
        raise NotImplementedError

    async def __call__(self, scope, receive, send):
        await plain(None)(scope, receive, send)


class OwnAwait(Decorated):
    def __await__(self):
        return plain(None)(self.scope, self.receive, self.send).__await__()


@pytest.mark.parametrize("endpoint", [NoEndpoint(), OwnAwait])
def test_a_dispatch_that_nobody_calls(endpoint):
    app = Starlette(routes=[Route("/x", endpoint)])
    assert lets_in(app, "/x")
    assert set(verdicts(app).values()) == {"open"}


def test_what_stands_beside_an_app_in_its_own_stack(guard):
    app = flask.Flask("app", static_folder=None)
    app.add_url_rule("/x", view_func=lambda: "in", endpoint="x")
    FBGuard(app, guard)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": flask_app(static_folder=None)})
    found = told(verdicts(app))
    assert (found["/x"], found["/metrics/me"]) == ("guarded", "open")


def test_what_a_router_does_with_all_the_rest():
    app = Starlette(routes=[Route("/x", decorated)])
    app.router.default = plain_app
    assert set(told(verdicts(app)).items()) == {("/x", "guarded"), ("/...", "open")}


# -- what must not be called open --------------------------------------------------------------------------


def test_doors_at_a_route_and_at_a_router(guard):
    door = Middleware(AsgiDoor, guard)
    app = Starlette(
        routes=[
            Route("/x", plain, middleware=[door]),
            Mount("/y", Router([Route("/z", plain)], middleware=[door])),
            Mount("/w", routes=[Route("/z", plain)], middleware=[door]),
        ]
    )
    assert verdicts(app) == {("/x", "GET"): "guarded", ("/y/z", "GET"): "guarded", ("/w/z", "GET"): "guarded"}
    asyncio.run(asked_without_a_token(app, verdicts(app)))


class ByMethod(HTTPEndpoint):
    @require_fb_token
    async def get(self, request):
        return plain(request)

    async def post(self, request):
        return plain(request)


class FlaskByMethod(MethodView):
    @require_fb_token
    def get(self):
        return "in"

    def post(self):
        return "in"


def test_decorated_methods_of_classes(guard):
    site = Starlette(routes=[Route("/x", ByMethod)])
    site.state.fbguard = guard
    assert verdicts(site) == {("/x", "GET"): "guarded", ("/x", "POST"): "open"}
    asyncio.run(asked_without_a_token(site, verdicts(site)))
    app = flask.Flask("app", static_folder=None)
    app.add_url_rule("/x", view_func=FlaskByMethod.as_view("x"))
    assert verdicts(app) == {("/x", "GET"): "guarded", ("/x", "POST"): "open"}


def test_a_decorated_dependency(guard):
    app = FastAPI(openapi_url=None)
    app.state.fbguard = guard

    @app.get("/x")
    async def x(who: Annotated[Any, Depends(decorated_dependency)]):
        return "in"

    assert not lets_in(app, "/x")
    assert verdicts(app) == {("/x", "GET"): "guarded"}


@require_fb_token
async def decorated_dependency(request: Request):
    return None


# -- odd apps ----------------------------------------------------------------------------------------------


def test_a_flask_rule_without_a_view():
    app = flask_app(static_folder=None)
    app.add_url_rule("/nobody", endpoint="nobody")
    app.add_url_rule("/built", endpoint="built", build_only=True)
    assert not {"/nobody", "/built"} & told(verdicts(app)).keys()


def test_an_app_that_is_mounted_in_itself():
    app = Starlette(routes=[Route("/x", plain)])
    app.mount("/latest", app)
    assert verdicts(app) == {("/x", "GET"): "open"}


def test_a_stack_is_not_built_again(guard):
    made = []

    class Once:
        def __init__(self, app):
            made.append(app)
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/x", plain)], middleware=[Middleware(Once), Middleware(AsgiDoor, guard)])
    assert not lets_in(app, "/x")
    assert verdicts(app) == {("/x", "GET"): "guarded"}
    assert len(made) == 1


def test_a_policy_with_a_thousand_rules(guard):
    rules = [Rule(f"/{number}/{{x}}/{{rest:path}}", scopes=["email"]) for number in range(1000)]
    app = AsgiDoor(plain_app, guard, policy=Policy(*rules, Rule("/999/y", public=True)))
    assert weakest(app) == {}  # an earlier one matches all that it does


def test_h17_a_decorator_above_the_route_guards_nothing():
    app = flask.Flask("app", static_folder=None)

    @require_fb_token
    @app.get("/above")
    def above():
        return "in"

    @app.get("/below")
    @require_fb_token
    def below():
        return "in"

    assert told(verdicts(app)) == {"/above": "open", "/below": "guarded"}


def test_werkzeugs_dispatcher(guard):
    admin = flask_app(static_folder=None)
    app = DispatcherMiddleware(
        flask_app(static_folder=None), {"/admin": WsgiDoor(admin, guard, policy=RULES)}
    )
    found = told(verdicts(app))
    assert found["/admin/me"] == "guarded"
    assert found["/admin/health"] == "public"
    assert found["/me"] == "open"


# -- what a guard gives to be mounted ----------------------------------------------------------------------


FOR_LOGINS = {
    "redirect_uri": "https://example.com/facebook/callback",
    "token_from": ("header", "cookie:__Host-t"),
}


def remarks(app: object) -> dict[str, str]:
    return {one.view.shown: "; ".join(one.remarks) for view in views_of(app) for one in judged(view)}


def test_the_login_and_the_callbacks_are_public_by_nature():
    with make_guard(**FOR_LOGINS) as guard:
        app = flask.Flask("app", static_folder=None)
        FBGuard(app, guard)
        mounts = {"/facebook": guard.login_wsgi(), "/hooks": guard.callbacks_wsgi()}
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, mounts)  # outside of FBGuard, as docs/login.md does
        assert told(verdicts(app)) == {"/facebook/...": "public", "/hooks/...": "public"}
        said = remarks(app)
        assert "login" in said["/facebook/..."]
        assert "callbacks" in said["/hooks/..."]
        site = FastAPI(openapi_url=None)
        site.mount("/facebook", guard.login_asgi())
        site.mount("/hooks", guard.callbacks_asgi())
        assert told(verdicts(site)) == {"/facebook/...": "public", "/hooks/...": "public"}
        assert remarks(site) == said


def test_a_login_that_is_behind_a_door_is_not_called_public():
    with make_guard(**FOR_LOGINS) as guard:
        site = Starlette(routes=[Mount("/facebook", guard.login_asgi())])
        assert told(verdicts(AsgiDoor(site, guard))) == {"/facebook/...": "guarded"}
        rule = Rule("/facebook/{rest:path}", public=True)
        assert told(verdicts(AsgiDoor(site, guard, policy=Policy(rule)))) == {"/facebook/...": "public"}


# -- Django ------------------------------------------------------------------------------------------------

DJANGO = """
from django.conf import settings
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View

from fbguard import Policy, Requirement, Rule, require_fb_token

policy = Policy(Rule("/health", public=True), Rule("/files/{rest:path}", public=True))
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x",
    MIDDLEWARE=MIDDLEWARE, FBGUARD={"app_id": "1", "app_secret": "0a1b2c3d4e5f6071", "policy": policy},
)

def view(request, **_):
    return HttpResponse("in")

@require_fb_token(scopes=["email"])
class Guarded(View):
    def get(self, request):
        return HttpResponse("in")

@method_decorator(require_fb_token, name="dispatch")
class ByMethod(View):
    def post(self, request):
        return HttpResponse("in")

below = [path("a/<int:pk>", view), path("b", require_fb_token(view))]
urlpatterns = [
    path("health", view), path("me/", view),
    path("guarded", Guarded.as_view()), path("method", ByMethod.as_view()),
    path("below/", include(below)), path("files-<int:pk>/", include(below)),
    re_path(r"^fi[a-z]*/(?P<name>.*)$", view),
]

from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
OURS = '["fbguard.integrations.django.FBTokenMiddleware"]'


@pytest.mark.parametrize("is_guarded", [True, False])
def test_django(tmp_path, is_guarded):
    middleware = f"MIDDLEWARE = {OURS if is_guarded else '[]'}\n"
    (tmp_path / "mysite.py").write_text(middleware + DJANGO)
    finished = fbguard("routes", "mysite:application", "--json", PYTHONPATH=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    found = {one["path"]: (one["verdict"], one["methods"]) for one in json.loads(finished.stdout)}
    base = "guarded" if is_guarded else "open"
    every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    assert found == {
        "/health": ("public" if is_guarded else "open", every),
        "/me/": (base, every),
        "/guarded": ("guarded", ["GET"]),
        "/method": ("guarded", ["POST"]),
        "/below/a/<int:pk>": (base, every),
        "/below/b": ("guarded", every),
        "/^fi[a-z]*/(?P<name>.*)$": (base, every),
        "/files-<int:pk>/a/<int:pk>": (base, every),
        "/files-<int:pk>/b": ("guarded", every),
    }
    if is_guarded:  # of a regular expression nobody can tell which rules it meets
        loose = next(one for one in json.loads(finished.stdout) if "fi[a-z]" in one["path"])
        assert loose["except_at"] == {"/files/...": "public", "/health": "public"}


DJANGO_WRAPPERS = """
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_exempt

guarded_by = method_decorator(require_fb_token, name="dispatch")
exempt = method_decorator(csrf_exempt, name="dispatch")
cached = method_decorator(cache_page(60), name="dispatch")
strict = method_decorator(require_fb_token(scopes=["email"]), name="dispatch")
loose = method_decorator(require_fb_token(optional=True), name="dispatch")

class Plain(View):
    def get(self, request):
        return HttpResponse("in")
    @method_decorator(require_fb_token(max_login_age=600))
    def delete(self, request):
        return HttpResponse("in")

def made(*decorators):
    view = type("Made", (Plain,), {})
    for decorator in reversed(decorators):
        view = decorator(view)
    return view.as_view()

both = method_decorator([csrf_exempt, require_fb_token], name="dispatch")
late = method_decorator([cache_page(60), require_fb_token], name="dispatch")
soon = method_decorator([require_fb_token, cache_page(60)], name="dispatch")
urlpatterns = [
    path("sure/function", csrf_exempt(require_fb_token(view))),
    path("sure/class", Guarded.as_view()),
    path("sure/exempt", csrf_exempt(Guarded.as_view())),
    path("sure/method", made()),
    path("sure/dispatch", made(guarded_by)),
    path("sure/dispatch-exempt", made(exempt, guarded_by)),
    path("sure/both", made(both)),
    path("sure/soon", made(soon)),
    path("sure/twice", made(guarded_by, strict)),
    path("unsure/function", cache_page(60)(require_fb_token(view))),
    path("unsure/class", cache_page(60)(Guarded.as_view())),
    path("unsure/late", made(late)),
    path("unsure/dispatch", made(cached, guarded_by)),
    path("unsure/loose", made(loose, cached, strict)),
    path("unsure/soon", made(soon, strict)),
]
"""


def test_what_django_wraps_views_in_is_known(tmp_path):
    """A caution stands where something may answer before the guard, and under the name of the view."""
    (tmp_path / "mysite.py").write_text("MIDDLEWARE = []\n" + DJANGO + DJANGO_WRAPPERS)
    finished = fbguard("routes", "mysite:application", "--json", PYTHONPATH=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    found = {(one["path"], method): one for one in json.loads(finished.stdout) for method in one["methods"]}
    assert len({path for path, _ in found if path.startswith("/sure/")}) == 9
    for (path, method), one in found.items():
        if path == "/sure/method" and method == "GET":
            assert one["verdict"] == "open"
        elif path.startswith("/sure/"):
            assert (one["verdict"], one["wrappers"]) == ("guarded", []), path
    cautions = {path: one["wrappers"] for (path, _), one in found.items() if path.startswith("/unsure/")}
    assert cautions == {
        "/unsure/function": ["mysite.view"],
        "/unsure/class": ["mysite.Guarded"],
        "/unsure/late": ["mysite.Made"],
        "/unsure/dispatch": ["mysite.Made"],
        "/unsure/loose": ["mysite.Made"],
        "/unsure/soon": ["mysite.Made"],
    }


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def routes(tmp_path, monkeypatch, capsys):
    """Give ``routes(source, *words)``: exit code and output."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    made = []

    def routes(source, *words, name="app"):
        module = f"routes_of_{len(made)}_{tmp_path.name}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        with pytest.raises(SystemExit) as ended:
            program(["routes", f"{module}:{name}" if name else module, *words], prog_name="fbguard")
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, " ".join(shown.err.replace("│", " ").split())

    yield routes
    for module in made:
        sys.modules.pop(module, None)


SITE = """
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from fbguard import require_fb_token
    async def hello(request): return PlainTextResponse("")
    @require_fb_token(scopes=["email"], any_scope=["a", "b"])
    async def me(request): return PlainTextResponse("")
    def create(): return Starlette(routes=[Route("/", hello), Route("/me", me), Route("/docs/{page}", hello)])
    app = create()
    class config: app = app
"""


def test_for_people(routes):
    code, out, _ = routes(SITE)
    module = out.split()[3].rpartition(".")[0]
    assert code == 0
    assert out.splitlines() == [
        f"open     GET  /             {module}.hello",
        "guarded  GET  /me           email one of a, b",
        f"open     GET  /docs/{{page}}  {module}.hello",
        "",
        "1 guarded, 2 open",
    ]


WIDE = """
    from starlette.applications import Starlette
    from starlette.endpoints import HTTPEndpoint
    from starlette.routing import Route
    from fbguard import require_fb_token
    class Pages(HTTPEndpoint):
        async def get(self, request): ...
        post = put = patch = delete = get
    @require_fb_token(scopes=["email", "pages_manage_posts", "pages_read_engagement"], max_login_age=600)
    async def short(request): ...
    far = "/api/v1/pages/{page_id}/posts/{post_id}/comments/{comment_id}/reactions/{reaction_id}/of/people"
    app = Starlette(routes=[Route("/short", short), Route(far, Pages), Route("/pages", Pages)])
"""


@pytest.mark.parametrize("columns", [60, 80, 100, 300])
def test_the_table_fits_the_terminal(routes, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = routes(WIDE)
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= columns
    assert (len(lines) == 5) == (columns == 300)  # a row is a line where there is room
    assert [line.split()[0] for line in lines if line[:1].isalpha()] == ["guarded", "open", "open"]


def test_a_row_of_several_lines_is_in_columns(routes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = routes(WIDE, "--public", "/pages", "--public", "/api/{rest:path}")[1]
    assert out.splitlines() == [
        "guarded  GET             /short                     email, pages_manage_posts,",
        "                                                    pages_read_engagement login",
        "                                                    of 600 s at most",
        "public   GET,POST,PUT,   /api/v1/pages/{page_id}/posts/{post_id}/comments/{comme",
        "         PATCH,DELETE    nt_id}/reactions/{reaction_id}/of/people",
        "public   GET,POST,PUT,   /pages",
        "         PATCH,DELETE",
        "",
        "1 guarded, 2 public",
    ]


LOGS_IN = """
from starlette.applications import Starlette
from starlette.routing import Mount
from fbguard import Guard, Policy, Rule
from fbguard.asgi import FBTokenMiddleware
guard = Guard.from_env(token_from=("header", "cookie:__Host-fb_token"))
site = Starlette(routes=[Mount("/facebook", guard.login_asgi()), Mount("/hooks", guard.callbacks_asgi())])
policy = Policy(Rule("/facebook/{rest:path}", public=True), Rule("/hooks/{rest:path}", public=True))
app = FBTokenMiddleware(site, guard, policy=policy)
"""


def test_the_variables_that_the_documentation_sets_in_a_build_are_enough(tmp_path):
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "main.py").write_text(LOGS_IN)
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    [block] = [
        one for one in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "export FBGUARD_APP_ID" in one
    ]
    exports = "\n".join(line for line in block.splitlines() if line.startswith("export "))
    assert block.splitlines()[-1] == "fbguard routes mysite.main:app --fail-on-open"
    command = shlex.join([*FBGUARD, "routes", "mysite.main:app", "--fail-on-open"])
    finished = run(["/bin/sh", "-c", f"{exports}\n{command}"], PYTHONPATH=str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.endswith("2 public\n")


def test_what_a_guard_gives_to_be_mounted_is_not_open(routes):
    source = """
        from flask import Flask
        from werkzeug.middleware.dispatcher import DispatcherMiddleware
        from fbguard import Guard
        from fbguard.integrations.flask import FBGuard
        app = Flask(__name__, static_folder=None)
        guard = Guard(
            app_id="1", app_secret="0a1b2c3d4e5f6071", redirect_uri="https://example.com/fb/callback",
            token_from=("cookie:__Host-t",),
        )
        FBGuard(app, guard)
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/fb": guard.login_wsgi()})
    """
    code, out, _ = routes(source, "--fail-on-open")
    assert code == 0
    assert out.splitlines() == [
        "public   any  /fb/...  fbguard's login: who comes has no token yet",
        "",
        "1 public",
    ]
    assert "login" in json.loads(routes(source, "--json")[1])[0]["remarks"][0]


def test_fail_on_open(routes):
    assert routes(SITE, "--fail-on-open")[0] == 1
    assert routes(SITE, "--fail-on-open", "--public", "/")[0] == 1
    code, out, _ = routes(SITE, "--fail-on-open", "--public", "/", "--public", "/docs/{any}")
    assert code == 0
    assert out.endswith("1 guarded, 2 public\n")
    code, out, _ = routes(SITE, "--fail-on-open", "--public", "/", "--public", "/docs/intro")
    assert code == 1  # only one of its pages is meant


@pytest.mark.parametrize("name", ["app", "", "create()", "config.app"])
def test_how_an_app_is_named(routes, name):
    code, out, _ = routes(SITE, name=name)
    assert code == 0
    assert out.endswith("1 guarded, 2 open\n")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("app = 1 / 0", "ZeroDivisionError"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = 1", "AttributeError"),
        ("raise RuntimeError('FBGUARD_APP_ID is not set')", "FBGUARD_APP_ID is not set"),
        ("import sys; sys.exit('no config')", "SystemExit: no config"),
        ("app = None", "is no app, but NoneType"),
        ("app = 7", "is no app, but int"),
    ],
)
def test_what_cannot_be_loaded(routes, source, told):
    code, out, err = routes(source)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mysite/wsgi.py:application", "not a path: mysite.wsgi:application"),
        ("./mysite/wsgi.py", "not a path: mysite.wsgi:app"),
        ("mysite/__init__.py:create()", "not a path: mysite:create()"),
        ("main.py:app", "not a path: main:app"),
        ("../elsewhere/main.py:app", "not a path: package.module:app"),
        ("nowhere.main:app", "ModuleNotFoundError"),
    ],
)
def test_a_path_in_place_of_a_module(given, told, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        program(["routes", given], prog_name="fbguard")
    assert ended.value.code == 2
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_factory_that_would_have_to_be_awaited(routes):
    code, _, err = routes("async def make(): ...", name="make()")
    assert code == 2
    assert "is no app, but coroutine" in err


def test_open_at_some_paths_is_open(routes):
    source = SITE.replace('Route("/docs/{page}", hello)', 'Route("/docs/{page:path}", hello)')
    code, out, _ = routes(source, "--fail-on-open", "--public", "/", "--public", "/docs/{name}")
    assert code == 1
    assert "open          only at /docs/-/-" in out.splitlines()


def test_a_template_that_is_none(routes):
    code, _, err = routes(SITE, "--public", "/x/*")
    assert code == 2
    assert "--public" in err


def test_no_routes(routes):
    code, out, _ = routes(
        "from starlette.applications import Starlette\napp = Starlette()\n", "--fail-on-open"
    )
    assert (code, out.strip()) == (0, "There are no routes.")


# -- parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ((), False)),
        ("", ((), False)),
        ("/a/b/", (("a", "b"), False)),
        ("/a/{b}/c", (("a", None, "c"), False)),
        ("/a/{b:int}.json", (("a", None), False)),
        ("/a/{b:path}", (("a",), True)),
        ("/a/x{b:path}/c", (("a",), True)),
        ("/a/{b:day}/c", (("a",), True)),
    ],
)
def test_starlettes_templates(path, expected):
    assert of_braces(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/<b>/c", (("a", None, "c"), False)),
        ("/a/<int:b>-<int:c>", (("a", None), False)),
        ("/a/<path:b>", (("a",), True)),
        ("/a/<string(length=2):b>/c", (("a", None, "c"), False)),
        ("/a/<any(x,y):b>", (("a", None), False)),
        ("a/<slug:b>/", (("a", None), False)),
        ("a/<regex('x/y'):b>/c", (("a",), True)),  # nobody knows what it matches
        ("a/<yyyy:b>/c", (("a",), True)),
    ],
)
def test_flasks_and_djangos_templates(path, expected):
    assert of_angles(path) == expected


@pytest.mark.parametrize(
    ("rule", "segments", "rest", "met"),
    [
        ("/a/b", ("a", "b"), False, (("a", "b"), False)),
        ("/a/b", ("a", None), False, (("a", "b"), False)),
        ("/a/{x}", ("a", "b"), False, (("a", "b"), False)),
        ("/a/{x}", ("a", None), False, (("a", None), False)),
        ("/a/b", ("a", "c"), False, None),
        ("/a/b", ("a",), False, None),
        ("/a/b", ("a",), True, (("a", "b"), False)),
        ("/a", ("a", "b"), False, None),
        ("/a/{rest:path}", ("a", "b"), False, (("a", "b"), False)),
        ("/a/{rest:path}", ("a", None, "c"), False, (("a", None, "c"), False)),
        ("/a/{rest:path}", ("a",), False, (("a",), False)),
        ("/a/{rest:path}", (None,), True, (("a",), True)),
        ("/", (), False, ((), False)),
        ("/{rest:path}", (), True, ((), True)),
    ],
)
def test_paths_that_a_rule_and_a_route_match(rule, segments, rest, met):
    made = Rule(rule)
    assert made.meets(segments, rest=rest) == met
    if met is not None:
        assert made.params_of(tuple(segment or "-" for segment in met[0])) is not None


def test_requirements_from_outside_in():
    inner, outer = Requirement(scopes=["a"]), Requirement(scopes=["b"])
    view = require_fb_token(scopes=["b"])(require_fb_token(scopes=["a"])(lambda: None))
    [one] = judged(Place().view("/x", (("x",), False), view))
    assert set(one.asks) == {inner, outer}


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (plain, f"{__name__}.plain"),
        (partial(partial(plain)), f"{__name__}.plain"),
        (Plain, f"{__name__}.Plain"),
        (FlaskPlain.as_view("x"), f"{__name__}.FlaskPlain"),
        (Router(), "starlette.routing.Router"),
    ],
)
def test_where_a_view_is_written(view, name):
    assert named(view) == name


# -- rules without effect, and Quart -----------------------------------------------------------------------


def test_rules_without_effect_are_told(guard):
    policy = Policy(
        Rule("/admin/{rest:path}", public=True),
        Rule("/admin/users", scopes=["email"]),
        Rule("/helth", public=True),
        Rule("/x", methods=["OPTIONS"], public=True),
    )
    site = Starlette(routes=[Route("/x", plain), Mount("/admin", routes=[Route("/users", plain)])])
    views = list(views_of(AsgiDoor(site, guard, policy=policy)))
    assert list(notes_of(views)) == [
        "The rule /admin/users judges nothing that it names: /admin/{rest:path} stands before it.",
        "The rule /helth fits no route.",
    ]
    inner = AsgiDoor(Starlette(routes=[Route("/y", plain)]), guard, policy=Policy(Rule("/in/y"), Rule("/y")))
    views = list(views_of(Starlette(routes=[Mount("/in", inner)])))
    assert list(notes_of(views)) == ["The rule /in/y fits no route."]
    assert list(notes_of(list(views_of(AsgiDoor(plain_app, guard, policy=policy))))) == [
        "The rule /admin/users judges nothing that it names: /admin/{rest:path} stands before it."
    ]


def test_a_note_is_printed(tmp_path, monkeypatch, capsys, guard):
    module = ModuleType("site_with_a_rule")
    module.app = AsgiDoor(
        Starlette(routes=[Route("/x", plain)]), guard, policy=Policy(Rule("/helth", public=True))
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert run_routes("site_with_a_rule:app", public=[], fail_on_open=True, as_json=False) == 0
    assert "Note" in (said := capsys.readouterr().out)
    assert "The rule /helth fits no route." in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quart(guard):
    app = quart.Quart("app", static_folder=None)
    app.add_url_rule("/me", view_func=lambda: "in", endpoint="me")
    app.add_url_rule("/mine", view_func=require_fb_token(scopes=["email"])(lambda: "in"), endpoint="mine")
    app.add_url_rule(
        "/open/<path:rest>", view_func=lambda rest: "in", endpoint="open", methods=["GET", "POST"]
    )
    app.add_websocket("/ws", view_func=lambda: None, endpoint="ws")
    assert verdicts(app) == {
        ("/me", "GET"): "open",
        ("/mine", "GET"): "guarded",
        ("/open/<path:rest>", "GET"): "open",
        ("/open/<path:rest>", "POST"): "open",
        ("/ws", "GET"): "open",
    }
    policy = Policy(Rule("/open/{rest:path}", public=True))
    app.asgi_app = AsgiDoor(app.asgi_app, guard, policy=policy)
    assert set(verdicts(app).values()) == {"guarded", "public"}
    for path, status in [("/me", 401), ("/mine", 401), ("/open/x", 200)]:
        assert asyncio.run(call_asgi(app, http_scope(path))).status == status, path
    assert set(verdicts(AsgiDoor(quart.Quart("other", static_folder=None), guard)).values()) == set()
