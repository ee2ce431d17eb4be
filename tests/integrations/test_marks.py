"""Answers to tokens outside the Authorization header are marked for shared caches, with a door or none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import flask
import pytest
from asgiref.wsgi import WsgiToAsgi

from tests.integrations.django_site import GUARDING, SERVERS, Site, options

# isort: split
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.views import View
from django.views.decorators.cache import cache_page
from fastapi import Depends, FastAPI, Request
from flask import Flask, Response, make_response
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from werkzeug.test import Client

from fbguard import Guard, Policy, Requirement, TokenInfo, current_token, require_fb_token, wsgi
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBRoute, FBToken
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import FBAuthBackend
from fbguard.sandbox import Sandbox
from tests.support import wsgi_environ

PLACES = ["header", "cookie:fb", "query"]
NEEDS_A_DOOR = r"put FBTokenMiddleware \(policy=None .*\) around"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def guard(sandbox) -> Iterator[Guard]:
    with sandbox.guard(token_from=PLACES) as guard:
        yield guard


def user() -> str:
    return f"user {current_token(required=True).user_id}"


def names(value: str | None) -> set[str]:
    return {name.strip().lower() for name in (value or "").split(",") if name.strip()}


def is_marked(headers: Any) -> bool:
    vary, control = names(headers.get("vary")), names(headers.get("cache-control"))
    return {"authorization", "cookie"} <= vary and "private" in control and "public" not in control


def is_untouched(headers: Any) -> bool:
    return headers.get("cache-control") in {None, "public, max-age=60"} and headers.get("vary") is None


def sent(place: str, token: str) -> dict[str, Any]:
    if place == "header":
        return {"headers": {"Authorization": f"Bearer {token}"}}
    if place == "cookie":
        return {"headers": {"Cookie": f"fb={token}"}}
    return {"params": {"access_token": token}}


def is_right(place: str, headers: Any) -> bool:
    return is_untouched(headers) if place == "header" else is_marked(headers)


@pytest.fixture(params=["header", "cookie", "query"])
def place(request) -> str:
    return request.param


# -- Flask ---------------------------------------------------------------------------------------------------


def flask_app() -> Flask:
    app = Flask("x")

    @app.get("/text")
    @require_fb_token
    def text() -> str:
        return user()

    @app.get("/public")
    @require_fb_token
    def public() -> Response:
        response = make_response(user())
        response.headers["Cache-Control"] = "public, max-age=60"
        return response

    @app.get("/stream")
    @require_fb_token
    def stream() -> Any:
        return (user() for _ in range(1))

    @app.get("/twice")
    @require_fb_token(scopes=["email"])
    @require_fb_token
    def twice() -> dict[str, str]:
        return {"user": user()}

    @app.get("/optional")
    @require_fb_token(optional=True)
    def optional() -> str:
        return "somebody" if current_token() else "nobody"

    return app


@pytest.mark.parametrize("address", ["/text", "/public", "/stream", "/twice"])
@pytest.mark.parametrize("around", ["nothing", "FBGuard", "Starlette"])
def test_a_flask_view_marks_its_answer(sandbox, guard, place, address, around):
    app = flask_app()
    token = sandbox.issue_token(user_id="42", scopes=["email"])
    asked = sent(place, token)
    if around == "Starlette":  # whose scope is another request than Flask's environ
        outer = FBTokenMiddleware(Starlette(routes=[Mount("/", WsgiToAsgi(app))]), guard, policy=None)
        answer = TestClient(outer).get(address, **asked)
        status, headers, body = answer.status_code, answer.headers, answer.text
    else:
        if around == "FBGuard":
            FBGuard(app, guard, policy=None)
        else:
            app.extensions["fbguard"] = guard
        got = app.test_client(use_cookies=False).get(
            address, headers=asked.get("headers"), query_string=asked.get("params"), buffered=True
        )
        status, headers, body = got.status_code, got.headers, got.text  # type: ignore[assignment]
    assert status == 200
    assert "user 42" in body
    assert is_right(place, headers)
    assert len(headers.get("vary", "").split(",")) == len(names(headers.get("vary"))) or place == "header"


def test_a_flask_answer_to_nobody_is_not_private(guard):
    app = flask_app()
    app.extensions["fbguard"] = guard
    answer = app.test_client().get("/optional")
    assert answer.text == "nobody"
    assert is_untouched(answer.headers)


# -- Starlette -----------------------------------------------------------------------------------------------


@require_fb_token
async def text(request: Any) -> PlainTextResponse:
    return PlainTextResponse(user())


@require_fb_token
def sync(request: Any) -> PlainTextResponse:
    return PlainTextResponse(user())


@require_fb_token
async def public(request: Any) -> PlainTextResponse:
    return PlainTextResponse(user(), headers={"Cache-Control": "public, max-age=60"})


@require_fb_token
async def stream(request: Any) -> StreamingResponse:
    async def chunks() -> Any:
        yield user()

    return StreamingResponse(chunks())


class Method(HTTPEndpoint):
    @require_fb_token
    async def get(self, request: Any) -> PlainTextResponse:
        return PlainTextResponse(user())


def starlette_app(**options: Any) -> Starlette:
    views = {"text": text, "sync": sync, "public": public, "stream": stream, "method": Method}
    return Starlette(routes=[Route(f"/{name}", view) for name, view in views.items()], **options)


class Copying:
    """Middleware that gives the app a scope of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


@pytest.mark.parametrize("address", ["/text", "/sync", "/public", "/stream", "/method"])
@pytest.mark.parametrize("around", ["nothing", "door", "door and a copy"])
def test_a_starlette_view_marks_its_answer(sandbox, guard, place, address, around):
    app: Any = starlette_app()
    app.state.fbguard = guard
    if around == "door":
        app = FBTokenMiddleware(app, guard, policy=None)
    elif around != "nothing":
        app = FBTokenMiddleware(Copying(app), guard, policy=None)
    token = sandbox.issue_token(user_id="42")
    answer = TestClient(app).get(address, **sent(place, token))
    assert (answer.status_code, answer.text) == (200, "user 42")
    assert is_right(place, answer.headers)


def test_an_endpoint_that_sends_by_itself_needs_a_door(sandbox, guard):
    """A decorated class answers out of the decorator's sight."""

    @require_fb_token
    class Whole(HTTPEndpoint):
        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse(user())

    app = Starlette(routes=[Route("/", Whole)])
    app.state.fbguard = guard
    asked = sent("cookie", sandbox.issue_token(user_id="42"))
    with pytest.raises(RuntimeError, match=NEEDS_A_DOOR):
        TestClient(app).get("/", **asked)
    answer = TestClient(FBTokenMiddleware(app, guard, policy=None)).get("/", **asked)
    assert answer.text == "user 42"
    assert is_marked(answer.headers)


# -- where nothing can be marked ---------------------------------------------------------------------------


def fastapi_app(kind: str, guard: Guard) -> Any:
    app = FastAPI()
    app.state.fbguard = guard

    if kind == "Depends":

        @app.get("/")
        async def depends(token: Annotated[TokenInfo, Depends(FBToken())]) -> dict[str, str | None]:
            return {"user": token.user_id}

    elif kind == "FBRoute":
        app.router.route_class = FBRoute

        @app.get("/")
        async def route(token: Annotated[TokenInfo, Depends(FBToken())]) -> dict[str, str | None]:
            return {"user": token.user_id}

    elif kind == "app":
        app = FastAPI(dependencies=[Depends(FBToken())])
        app.state.fbguard = guard

        @app.get("/")
        async def plain() -> dict[str, str | None]:
            return {"user": current_token(required=True).user_id}

    elif kind == "decorated":

        @app.get("/")
        @require_fb_token
        async def decorated() -> dict[str, str | None]:
            return {"user": current_token(required=True).user_id}

    return app


def guarded(kind: str, guard: Guard) -> Any:
    if kind != "backend":
        return fastapi_app(kind, guard)

    @requires("authenticated")
    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse(f'{{"user":"{request.user.identity}"}}')

    backend = Middleware(
        AuthenticationMiddleware, backend=FBAuthBackend(guard), on_error=FBAuthBackend.on_error
    )
    return Starlette(routes=[Route("/", view)], middleware=[backend])


@pytest.mark.parametrize("kind", ["Depends", "FBRoute", "app", "backend"])
def test_what_cannot_mark_needs_a_door(sandbox, guard, kind, place):
    app = guarded(kind, guard)
    asked = sent(place, sandbox.issue_token(user_id="42"))
    with pytest.raises(RuntimeError, match=NEEDS_A_DOOR):  # for every request: a developer's first one
        TestClient(app).get("/", **asked)
    client = TestClient(FBTokenMiddleware(app, guard, policy=None))
    answer = client.get("/", **asked)
    assert answer.json() == {"user": "42"}
    assert is_right(place, answer.headers)


@pytest.mark.parametrize("around", ["door", "copy"])
def test_a_decorated_fastapi_view_that_returns_a_dict_needs_a_door(sandbox, guard, place, around):
    """FastAPI makes the answer of it later."""
    app = FastAPI()
    app.state.fbguard = guard

    @app.get("/")
    @require_fb_token
    async def view(request: Request) -> dict[str, str | None]:
        return {"user": current_token(required=True).user_id}

    asked = sent(place, sandbox.issue_token(user_id="42"))
    with pytest.raises(RuntimeError, match=NEEDS_A_DOOR):
        TestClient(app).get("/", **asked)
    inner: Any = app if around == "door" else Copying(app)
    answer = TestClient(FBTokenMiddleware(inner, guard, policy=None)).get("/", **asked)
    assert answer.json() == {"user": "42"}
    assert is_right(place, answer.headers)


def test_the_door_may_be_a_middleware_of_the_app(sandbox, guard):
    for kind in ("Depends", "decorated"):
        app = fastapi_app(kind, guard)
        app.add_middleware(FBTokenMiddleware, guard=guard, policy=None)
        answer = TestClient(app).get("/", **sent("cookie", sandbox.issue_token(user_id="42")))
        assert answer.json() == {"user": "42"}
        assert is_marked(answer.headers)


@pytest.mark.parametrize("kind", ["Depends", "FBRoute", "app", "backend"])
@pytest.mark.parametrize("places", [["header"], ["header", "websocket-protocol"]])
def test_places_that_no_cache_keeps_need_no_door(sandbox, kind, places):
    with sandbox.guard(token_from=places) as guard:
        answer = TestClient(guarded(kind, guard)).get(
            "/", **sent("header", sandbox.issue_token(user_id="42"))
        )
    assert answer.json() == {"user": "42"}
    assert is_untouched(answer.headers)


@pytest.mark.parametrize("places", [PLACES, ["header", "websocket-protocol"]])
def test_a_decorated_websocket_needs_no_door(sandbox, places):
    @require_fb_token
    async def view(websocket: Any) -> None:
        offered = websocket.scope["subprotocols"]
        await websocket.accept(subprotocol="bearer" if offered else None)
        await websocket.send_text(user())
        await websocket.close()

    with sandbox.guard(token_from=places) as guard:
        app = Starlette(routes=[WebSocketRoute("/", view)])
        app.state.fbguard = guard
        token = sandbox.issue_token(user_id="42")
        if places is PLACES:
            socket = TestClient(app).websocket_connect(f"/?access_token={token}")
        else:
            socket = TestClient(app).websocket_connect("/", subprotocols=["bearer", token])
        with socket as opened:
            assert opened.receive_text() == "user 42"


# -- a view's guard reads more than its door's ---------------------------------------------------------------


def fastapi_below(kind: str, guard: Guard) -> FastAPI:
    app = FastAPI(dependencies=[Depends(FBToken(guard=guard))] if kind == "fastapi app" else [])

    async def plain() -> dict[str, str | None]:
        return {"user": current_token(required=True).user_id}

    own = Depends(FBToken(guard=guard))

    async def depends(token: TokenInfo = own) -> dict[str, str | None]:
        return {"user": token.user_id}

    app.router.route_class = FBRoute if kind == "fastapi route" else app.router.route_class
    decorated = require_fb_token(guard=guard)(plain)
    app.get("/")({"fastapi decorated": decorated, "fastapi app": plain}.get(kind, depends))
    return app


def below_a_door_of_headers(kind: str, guard: Guard) -> Any:
    """Return an app whose views, or middleware, name a guard of their own."""
    if kind == "backend":
        return guarded(kind, guard)
    if kind.startswith("fastapi"):
        return fastapi_below(kind, guard)

    def said() -> str:
        return f'{{"user": "{current_token(required=True).user_id}"}}'

    async def chunks() -> Any:
        yield said()

    async def text(request: Any) -> PlainTextResponse:
        return PlainTextResponse(said())

    async def stream(request: Any) -> StreamingResponse:
        return StreamingResponse(chunks())

    class Whole(HTTPEndpoint):
        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse(said())

    async def plain_app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(said())(scope, receive, send)

    views: dict[str, Any] = {"starlette": text, "starlette stream": stream, "starlette class": Whole}
    view = require_fb_token(guard=guard)(views.get(kind, plain_app))
    return Starlette(routes=[Route("/", view)]) if kind in views else view


@pytest.mark.parametrize("policy", [None, Policy(default=Requirement(optional=True))])
@pytest.mark.parametrize("around", ["door", "door and a copy"])
@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "starlette",
        "starlette stream",
        "starlette class",
        "backend",
        "fastapi",
        "fastapi route",
        "fastapi app",
        "fastapi decorated",
    ],
)
def test_what_a_views_own_guard_finds_is_marked_below_a_door_of_headers(
    sandbox, guard, place, kind, around, policy
):
    app = below_a_door_of_headers(kind, guard)
    if around == "door and a copy":
        app = Copying(app)
    with sandbox.guard() as outer:
        client = TestClient(FBTokenMiddleware(app, outer, policy=policy))
        token = sandbox.issue_token(user_id="42")
        for _ in range(2):
            answer = client.get("/", **sent(place, token))
            assert answer.json() == {"user": "42"}
            assert is_right(place, answer.headers)
        assert client.get("/", **sent(place, "unknown")).status_code == 401


def test_a_browser_whose_token_only_the_view_reads_is_told_its_subprotocol(sandbox):
    with sandbox.guard() as outer, sandbox.guard(token_from=["header", "websocket-protocol"]) as guard:

        @require_fb_token(guard=guard)
        async def view(websocket: Any) -> None:
            await websocket.accept()
            await websocket.send_text(user())
            await websocket.close()

        app = FBTokenMiddleware(Starlette(routes=[WebSocketRoute("/", view)]), outer, policy=None)
        token = sandbox.issue_token(user_id="42")
        with TestClient(app).websocket_connect("/", subprotocols=["bearer", token]) as socket:
            assert socket.accepted_subprotocol == "bearer"
            assert socket.receive_text() == "user 42"


@pytest.mark.parametrize("kind", ["function", "method", "a whole body", "a stream"])
def test_a_plain_wsgi_view_marks_its_answer_below_a_door_of_headers(sandbox, guard, place, kind):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([user().encode()]) if kind == "a stream" else [user().encode()]

    class Views:
        @require_fb_token(guard=guard)
        def app(self, environ: Any, start_response: Any) -> Any:
            return app(environ, start_response)

    view = Views().app if kind == "method" else require_fb_token(guard=guard)(app)
    with sandbox.guard() as outer:
        client = Client(wsgi.FBTokenMiddleware(view, outer, policy=None), use_cookies=False)
        asked = sent(place, sandbox.issue_token(user_id="42"))
        for _ in range(2):
            answer = client.get("/", headers=asked.get("headers"), query_string=asked.get("params"))
            assert (answer.status_code, answer.text) == (200, "user 42")
            assert is_right(place, answer.headers)


def test_a_view_of_an_unknown_framework_whose_guard_reads_more_than_its_doors_says_so(sandbox, guard):
    view = require_fb_token(guard=guard)(lambda: "never called")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        return [view().encode()]

    environ = wsgi_environ("/", headers=[("Cookie", f"fb={sandbox.issue_token()}")])
    with sandbox.guard() as outer, pytest.raises(RuntimeError, match="with a guard that reads it too"):
        wsgi.FBTokenMiddleware(app, outer, policy=None)(environ, lambda *_: lambda _data: None)


@pytest.mark.parametrize("kind", ["starlette", "websocket"])
def test_however_often_a_view_of_its_own_guard_is_called_its_answer_is_marked_once(sandbox, guard, kind):
    @require_fb_token(guard=guard)
    async def row(request: Any) -> str:
        return user()

    async def many(request: Any) -> StreamingResponse:
        async def rows() -> Any:
            for _ in range(1500):
                yield await row(request)

        await row(request)
        return StreamingResponse(rows())

    async def socket(websocket: Any) -> None:
        await websocket.accept()
        for _ in range(1500):
            await row(websocket)
        await websocket.send_text(await row(websocket))
        await websocket.close()

    app = Starlette(routes=[Route("/", many), WebSocketRoute("/ws", socket)])
    asked = {"Cookie": f"fb={sandbox.issue_token(user_id='42')}", "Origin": "http://testserver"}
    with sandbox.guard() as outer:
        client = TestClient(FBTokenMiddleware(app, outer, policy=None))
        if kind == "websocket":
            with client.websocket_connect("/ws", headers=asked) as opened:
                assert opened.receive_text() == "user 42"
            return
        answer = client.get("/", headers=asked)
    assert answer.text == "user 42" * 1500
    assert is_marked(answer.headers)
    assert len(answer.headers["vary"].split(",")) == len(names(answer.headers["vary"]))


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("places", [["header"], PLACES])
def test_however_many_requests_an_app_asks_of_itself_its_answer_is_marked_once(sandbox, guard, kind, places):
    tokens = [sandbox.issue_token(user_id=str(number)) for number in range(1, 4)]

    @require_fb_token(guard=guard)
    async def asked(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(user())(scope, receive, send)

    async def swallow(message: Any) -> None:
        pass

    async def ask(scope: Any, receive: Any) -> None:
        for number in range(1200):
            cookie = f"fb={tokens[number % 3]}".encode()
            headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", cookie)]
            await asked({**scope, "headers": headers}, receive, swallow)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await ask(scope, receive)
            await send({"type": "websocket.send", "text": "done"})
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            await ask(scope, receive)
            await PlainTextResponse("done")(scope, receive, send)

    with sandbox.guard(token_from=places) as outer:
        client = TestClient(FBTokenMiddleware(app, outer, policy=None))
        if kind == "websocket":
            with client.websocket_connect("/") as socket:
                assert socket.receive_text() == "done"
        else:
            answer = client.get("/")
            assert answer.text == "done"
            assert is_marked(answer.headers)  # it may tell of what was asked for
            assert len(answer.headers["vary"].split(",")) == len(names(answer.headers["vary"]))


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_between_two_doors_and_a_copy_an_answer_is_marked(sandbox, guard, place, kind):
    """The outer door looks at its own request; the facts are in a copy, and the inner door reads headers."""
    asked = sent(place, sandbox.issue_token(user_id="42"))

    @require_fb_token(guard=guard)
    def view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [user().encode()]

    with sandbox.guard() as headers_only:
        if kind == "asgi":
            app = Starlette(routes=[Route("/", require_fb_token(guard=guard)(text.__wrapped__))])
            inner: Any = FBTokenMiddleware(app, headers_only, policy=None)
            answer: Any = TestClient(FBTokenMiddleware(Copying(inner), guard, policy=None)).get("/", **asked)
        else:
            inner = wsgi.FBTokenMiddleware(view, headers_only, policy=None)
            outer = wsgi.FBTokenMiddleware(
                lambda environ, start: inner({**environ}, start), guard, policy=None
            )
            client = Client(outer, use_cookies=False)
            answer = client.get("/", headers=asked.get("headers"), query_string=asked.get("params"))
    assert answer.text == "user 42"
    assert is_right(place, answer.headers)


def test_an_environ_that_is_served_again_is_marked_for_itself(sandbox, guard):
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    told: list[list[tuple[str, str]]] = []

    def start_response(_status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
        told.append(headers)
        return lambda _data: None

    door = wsgi.FBTokenMiddleware(app, guard)
    environ = wsgi_environ("/", headers=[("Cookie", f"fb={sandbox.issue_token()}")])
    door(environ, start_response)
    del environ["HTTP_COOKIE"]
    environ["HTTP_AUTHORIZATION"] = f"Bearer {sandbox.issue_token()}"
    door(environ, start_response)
    assert [bool(headers) for headers in told] == [True, False]


def test_a_plain_wsgi_view_that_is_given_a_copy_marks_its_answer(sandbox, guard, place):
    @require_fb_token(guard=guard)
    def view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [user().encode()]

    with sandbox.guard() as outer:
        door = wsgi.FBTokenMiddleware(lambda environ, start: view({**environ}, start), outer, policy=None)
        asked = sent(place, sandbox.issue_token(user_id="42"))
        client = Client(door, use_cookies=False)
        answer = client.get("/", headers=asked.get("headers"), query_string=asked.get("params"))
    assert answer.text == "user 42"
    assert is_right(place, answer.headers)


@pytest.mark.parametrize("kind", ["view", "door"])
def test_whom_another_guard_did_not_find_the_answer_is_for_all_the_same(sandbox, guard, place, kind):
    """A cookie has let the request in; that a header guard then finds nobody changes nothing about that."""
    with sandbox.guard() as headers_only:

        @require_fb_token(guard=headers_only, optional=True)
        async def text(request: Any) -> PlainTextResponse:
            return PlainTextResponse("secret")

        view = require_fb_token(guard=guard)(text) if kind == "view" else text
        app = Starlette(routes=[Route("/", view)])
        door = FBTokenMiddleware(
            app, guard if kind == "door" else headers_only, policy=Policy() if kind == "door" else None
        )
        answer = TestClient(door).get("/", **sent(place, sandbox.issue_token(user_id="42")))
    assert answer.text == "secret"
    assert is_right(place, answer.headers)


def test_a_backend_below_a_copy_is_marked(sandbox, guard, place):
    app = FBTokenMiddleware(Copying(guarded("backend", guard)), guard, policy=None)
    answer = TestClient(app).get("/", **sent(place, sandbox.issue_token(user_id="42")))
    assert answer.json() == {"user": "42"}
    assert is_right(place, answer.headers)


def test_a_view_that_reads_a_cookie_below_a_door_that_reads_the_query_names_both(sandbox, guard):
    @require_fb_token(guard=guard)
    async def text(request: Any) -> PlainTextResponse:
        return PlainTextResponse(user())

    with sandbox.guard(token_from=["query"]) as outer:
        door = FBTokenMiddleware(Starlette(routes=[Route("/", text)]), outer, policy=None)
        answer = TestClient(door).get("/", **sent("cookie", sandbox.issue_token(user_id="42")))
    assert is_marked(answer.headers)


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize("where", ["cookie", "query"])
def test_what_the_outer_of_two_doors_has_found_is_marked_on_every_hit(sandbox, kind, where):
    asked = sent(where, sandbox.issue_token(user_id="42"))
    asked["headers"] = {**asked.get("headers", {}), **sandbox.bearer(sandbox.issue_token(user_id="7"))}

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Cache-Control", "public, max-age=60")])
        return [user().encode()]

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(user(), headers={"Cache-Control": "public, max-age=60"})(scope, receive, send)

    with sandbox.guard(token_from=["cookie:fb", "query"]) as outer, sandbox.guard() as inner:
        if kind == "asgi":
            client: Any = TestClient(FBTokenMiddleware(FBTokenMiddleware(asgi_app, inner), outer))
        else:
            doors = wsgi.FBTokenMiddleware(wsgi.FBTokenMiddleware(wsgi_app, inner), outer)
            client = Client(doors, use_cookies=False)
        for _ in range(3):
            if kind == "asgi":
                answer = client.get("/", **asked)
            else:
                answer = client.get("/", headers=asked["headers"], query_string=asked.get("params"))
            assert answer.text == "user 7"
            assert {"cookie"} <= names(answer.headers["vary"])
            assert names(answer.headers["cache-control"]) == {"max-age=60", "private"}
            assert answer.headers.get("referrer-policy") == ("no-referrer" if where == "query" else None)


@pytest.mark.parametrize("doors", [[["header", "cookie:fb", "query"]], [["header"], ["header", "cookie:fb"]]])
@pytest.mark.parametrize("own", [["header", "cookie:fb"], ["cookie:fb"]])
def test_a_view_of_an_unknown_framework_is_marked_by_any_door_that_reads_as_much(sandbox, doors, own):
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(sandbox.guard(token_from=own))
        view = require_fb_token(guard=guard)(lambda _route: user())

        def app(environ: Any, start_response: Any) -> list[bytes]:
            body = view("route").encode()
            start_response("200 OK", [])
            return [body]

        door: Any = app
        for places in doors:
            around = stack.enter_context(sandbox.guard(token_from=places))
            door = wsgi.FBTokenMiddleware(door, around, policy=None)
        client = Client(door, use_cookies=False)
        answer = client.get("/", headers=sent("cookie", sandbox.issue_token(user_id="42"))["headers"])
    assert answer.text == "user 42"
    assert is_marked(answer.headers)


def test_nor_does_it_need_one_for_a_token_in_the_header(sandbox, guard):
    view = require_fb_token(guard=guard)(user)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = view().encode()
        start_response("200 OK", [])
        return [body]

    with sandbox.guard() as outer:
        client = Client(wsgi.FBTokenMiddleware(app, outer, policy=None), use_cookies=False)
        answer = client.get("/", headers=sandbox.bearer(sandbox.issue_token(user_id="42")))
    assert answer.text == "user 42"
    assert is_untouched(answer.headers)


def test_what_an_app_has_said_several_times_stays(sandbox, guard):
    @require_fb_token
    async def view(request: Any) -> PlainTextResponse:
        response = PlainTextResponse("x")
        for value in ("private", "max-age=600"):
            response.headers.append("Cache-Control", value)
        for value in ("Authorization, Cookie", "Accept"):
            response.headers.append("Vary", value)
        return response

    async def late(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Late"] = "1"
        return response

    app = Starlette(routes=[Route("/", view)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=late)])
    app.state.fbguard = guard
    answer = TestClient(app).get("/", **sent("cookie", sandbox.issue_token()))
    assert names(answer.headers["cache-control"]) == {"private", "max-age=600"}
    assert names(answer.headers["vary"]) == {"authorization", "cookie", "accept"}
    assert answer.headers["x-late"] == "1"


@pytest.mark.parametrize("how", ["abort", "raise"])
def test_what_a_view_of_flask_raises_is_marked_as_what_it_returns(sandbox, guard, place, how):
    app = Flask("x")
    app.extensions["fbguard"] = guard

    @app.errorhandler(LookupError)
    def not_found(error: LookupError) -> tuple[Response, int]:
        return public_response(), 404

    def public_response() -> Response:
        response = make_response(f"user {flask.g.fb_token.user_id}")
        response.headers["Cache-Control"] = "public, max-age=60"
        return response

    @app.get("/")
    @require_fb_token
    def view() -> str:
        if how == "abort":
            flask.abort(public_response())
        raise LookupError

    asked = sent(place, sandbox.issue_token(user_id="42"))
    client = Client(app, use_cookies=False)
    answer = client.get("/", headers=asked.get("headers"), query_string=asked.get("params"))
    assert is_right(place, answer.headers)
    assert answer.status_code == (200 if how == "abort" else 404)


# -- where the token stood, not whether some header is there -------------------------------------------------


DOORS = ["asgi", "wsgi", "flask", "starlette view"]


def plain_doors(guard: Guard) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Return ways to ask for an answer that says it is public; each gives the headers."""

    def of_wsgi(app: Any) -> Callable[[dict[str, Any]], Any]:
        client = Client(app, use_cookies=False)
        return lambda asked: (
            client.get("/public", headers=asked.get("headers"), query_string=asked.get("params")).headers
        )

    def wsgi_view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Cache-Control", "public, max-age=60")])
        return [user().encode()]

    flask_with = flask_app()
    FBGuard(flask_with, guard)
    starlette = TestClient(FBTokenMiddleware(starlette_app(), guard))
    views = starlette_app()
    views.state.fbguard = guard
    without = TestClient(views)
    return {
        "asgi": lambda asked: starlette.get("/public", **asked).headers,
        "wsgi": of_wsgi(wsgi.FBTokenMiddleware(wsgi_view, guard)),
        "flask": of_wsgi(flask_with),
        "starlette view": lambda asked: without.get("/public", **asked).headers,
    }


@pytest.mark.parametrize("scheme", ["Basic eA==", "Negotiate abc", "Digest x"])
@pytest.mark.parametrize("where", ["cookie", "query"])
@pytest.mark.parametrize("door", DOORS)
def test_credentials_of_another_scheme_do_not_make_an_answer_public(sandbox, guard, where, door, scheme):
    """Another scheme than Bearer is no credential of ours, and a cache may keep what says it is public."""
    asked = sent(where, sandbox.issue_token(user_id="42"))
    asked["headers"] = {**asked.get("headers", {}), "Authorization": scheme}
    assert is_marked(plain_doors(guard)[door](asked))


def test_nor_does_a_token_in_a_header_that_nobody_reads(sandbox):
    with sandbox.guard(token_from=["query"]) as guard:
        asked = sent("query", sandbox.issue_token(user_id="42"))
        asked["headers"] = {"Authorization": f"Bearer {sandbox.issue_token(user_id='7')}"}
        headers = plain_doors(guard)["asgi"](asked)
    assert "private" in names(headers["cache-control"])
    assert "public" not in names(headers["cache-control"])


@pytest.mark.parametrize("door", DOORS)
def test_l06_an_address_with_a_token_is_told_to_nobody(sandbox, guard, place, door):
    token = sandbox.issue_token(user_id="42")
    headers = plain_doors(guard)[door](sent(place, token))
    assert headers.get("referrer-policy") == ("no-referrer" if place == "query" else None)


def test_an_apps_own_referrer_policy_stays(sandbox, guard):
    @require_fb_token
    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse("x", headers={"Referrer-Policy": "same-origin"})

    client = TestClient(FBTokenMiddleware(Starlette(routes=[Route("/", view)]), guard))
    answer = client.get("/", **sent("query", sandbox.issue_token()))
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]


# -- Django -------------------------------------------------------------------------------------------------

runs: list[str] = []


def ran() -> HttpResponse:
    runs.append(user())
    return HttpResponse(user())


@require_fb_token
def view(request: HttpRequest) -> HttpResponse:
    return ran()


@require_fb_token
async def aview(request: HttpRequest) -> HttpResponse:
    return ran()


@require_fb_token
class Whole(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return ran()


@require_fb_token(scopes=["email"])
@require_fb_token
def twice(request: HttpRequest) -> HttpResponse:
    return ran()


@require_fb_token
def says_public(request: HttpRequest) -> HttpResponse:
    response = ran()
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


KINDS = {
    "view": view,
    "aview": aview,
    "whole": Whole.as_view(),
    "twice": twice,
    "public": says_public,
}


class urls:  # noqa: N801 - stands for a module
    urlpatterns = (
        *(path(name, kind) for name, kind in KINDS.items()),
        # Of the async view, none: what cache_page makes is a sync one.
        *(path(f"cached/{name}", cache_page(60)(KINDS[name])) for name in KINDS if name != "aview"),
    )


@pytest.fixture(params=[None, "decides nothing", "everything"])
def site(request, sandbox) -> Iterator[Any]:
    """Give ``serve(server, token_from)``: Django without the middleware, with it, and with its policy."""
    cache.clear()
    runs.clear()
    policy = Policy() if request.param == "everything" else None
    guarding = options(sandbox, token_from=PLACES, policy=policy)
    middleware = [] if request.param is None else [GUARDING]
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "marks"}}
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=middleware, FBGUARD=guarding, CACHES=caches):
        yield Site
        cache.clear()


def send(site: Site, address: str, place: str, token: str) -> Any:
    if place == "header":
        return site.send(address, token)
    if place == "cookie":
        return site.send(address, headers=[("Cookie", f"fb={token}")])
    query = f"access_token={token}"
    more = {"QUERY_STRING": query} if site.server == "wsgi" else {"query_string": query.encode()}
    return site.send(address, **more)


@pytest.fixture(params=SERVERS)
def server(request) -> str:
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_a_django_view_marks_its_answer(site, server, sandbox, place, kind):
    answer = send(site(server), f"/{kind}", place, sandbox.issue_token(user_id="42", scopes=["email"]))
    assert (answer.status, answer.body) == (200, b"user 42")
    headers = {name: answer.header(name) for name in ("vary", "cache-control")}
    assert is_right(place, headers)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "aview"])
def test_cache_page_keeps_no_answer_of_anybodys(site, server, sandbox, kind):
    served, scopes = site(server), ["email"]
    one = sandbox.issue_token(user_id="1", scopes=scopes)
    two = sandbox.issue_token(user_id="2", scopes=scopes)
    for place in ("cookie", "query"):
        for token, body in ((one, b"user 1"), (two, b"user 2"), (one, b"user 1")):
            answer = send(served, f"/cached/{kind}", place, token)
            assert (answer.status, answer.body) == (200, body)
            assert "private" in names(answer.header("cache-control"))
        stranger = served.send(f"/cached/{kind}")
        assert (stranger.status, stranger.reason) == (401, "missing_token")
    assert len(runs) == 6  # nothing came out of the cache
    sandbox.invalidate(one)


def test_what_nobody_is_told_is_cached(sandbox):
    """The same cache keeps what is everybody's: the test above would notice it."""

    def everybody(request: HttpRequest) -> HttpResponse:
        runs.append("everybody")
        return HttpResponse("all")

    class everybodys:  # noqa: N801 - stands for a module
        urlpatterns = (path("all", cache_page(60)(everybody)),)

    runs.clear()
    cache.clear()
    with override_settings(ROOT_URLCONF=everybodys, MIDDLEWARE=[]):
        served = Site("wsgi")
        assert [served.send("/all").body for _ in range(2)] == [b"all", b"all"]
    cache.clear()
    assert runs == ["everybody"]


def test_what_a_view_of_django_raises_is_marked_by_the_middleware(sandbox, guard, place, server):
    """Its own guard reads more than that of the settings."""

    @require_fb_token(guard=guard)
    def missing(request: HttpRequest) -> HttpResponse:
        raise Http404(user())

    class missings:  # noqa: N801 - stands for a module
        urlpatterns = (path("x", missing),)

    guarding = options(sandbox, policy=None)
    with override_settings(ROOT_URLCONF=missings, MIDDLEWARE=[GUARDING], FBGUARD=guarding):
        answer = send(Site(server), "/x", place, sandbox.issue_token(user_id="42"))
    assert answer.status == 404
    assert ("private" in names(answer.header("cache-control"))) == (place != "header")
