"""A request that is over leaves nothing to the garbage collector: all of it goes when the server lets it go.

A server's ``send`` holds the scope. Whatever a door puts into the scope that holds ``send`` closes a circle,
and in it the request stays with its headers and its token; under uvicorn that cost a third of the throughput.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fbguard import (
    Guard,
    OAuthException,
    Policy,
    Requirement,
    Rule,
    TokenInfo,
    asgi,
    require_fb_token,
    wsgi,
)
from fbguard.claims import LIVE
from fbguard.connections import OUTGOING
from fbguard.integrations.fastapi import FBToken
from fbguard.integrations.starlette import FBAuthBackend
from tests.support import TOKEN, make_guard, valid, wsgi_environ

POLICY = Policy(Rule("/public", public=True), Rule("/live", live=True), Rule("/email", scopes=["email"]))
BEARER = [(b"host", b"x"), (b"authorization", f"Bearer {TOKEN}".encode())]


class Connection:
    """A request in a server's hand, as uvicorn has it."""

    def __init__(self, kind: str, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.scope: dict[str, Any] = {
            "type": kind, "path": path, "headers": headers, "root_path": "", "query_string": b"",
            "method": "GET", "scheme": "http", "server": ("x", 80), "client": ("y", 1), "http_version": "1.1",
        }  # fmt: skip
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return {"type": "websocket.connect" if self.scope["type"] == "websocket" else "http.request"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError


async def failing_late(scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)
    raise LookupError


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@require_fb_token(scopes=["email"])
async def view(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


@pytest.fixture
def guard(graph, clock) -> Iterator[Guard]:
    graph.default = valid(scopes=["email"])
    with make_guard(graph, clock) as guard:
        yield guard


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


APPS = {
    "app": lambda guard: asgi.FBTokenMiddleware(app, guard, policy=POLICY),
    "two doors": lambda guard: asgi.FBTokenMiddleware(
        asgi.FBTokenMiddleware(app, guard, policy=POLICY), guard, policy=POLICY
    ),
    "Starlette": lambda guard: asgi.FBTokenMiddleware(
        Starlette(routes=[Route(path, view) for path in ("/email", "/live")]), guard, policy=POLICY
    ),
    "live view": lambda guard: asgi.FBTokenMiddleware(
        require_fb_token(live=True)(require_fb_token(guard=make_guard())(app)), guard, policy=POLICY
    ),
}


@pytest.mark.parametrize("which", APPS)
@pytest.mark.parametrize(
    ("kind", "path", "headers"),
    [
        ("http", "/email", BEARER),
        ("http", "/email", []),
        ("http", "/live", BEARER),
        ("http", "/public", []),
        ("websocket", "/email", BEARER),
        ("websocket", "/email", []),
    ],
)
def test_of_a_request_in_asgi(guard, which, kind, path, headers):
    if which == "Starlette" and (kind == "websocket" or path == "/public"):
        path = "/email"
        kind = "http"
    door = APPS[which](guard)

    async def main() -> None:
        for _ in range(3):  # the first one is looked up
            connection = Connection(kind, path, list(headers))
            await door(connection.scope, connection.receive, connection.send)
            assert connection.sent
            assert not ({LIVE} | ({OUTGOING} if kind == "http" else set())) & set(connection.scope)
            gone = weakref.ref(connection)
            del connection
            assert gone() is None

    asyncio.run(main())


@pytest.mark.parametrize("inner", [failing, failing_late])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_of_a_request_whose_app_fails(guard, inner, kind):
    door = asgi.FBTokenMiddleware(inner, guard, policy=POLICY)

    async def main() -> None:
        for _ in range(3):
            connection = Connection(kind, "/email", list(BEARER))
            with suppress(LookupError):
                await door(connection.scope, connection.receive, connection.send)
            gone = weakref.ref(connection)
            del connection
            assert gone() is None

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/email", "/public", "/live"])
@pytest.mark.parametrize("token", [TOKEN, None])
def test_of_a_request_in_wsgi(guard, path, token):
    class Environ(dict[str, Any]):
        pass

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    def streamed(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"ok"

    for inner in (plain, streamed):
        door = wsgi.FBTokenMiddleware(inner, guard, policy=POLICY)
        for _ in range(3):
            headers = [] if token is None else [("Authorization", f"Bearer {token}")]
            environ = Environ(wsgi_environ(path, headers=headers))
            body = door(environ, lambda *_: None)
            assert (b"ok" in list(body)) is (token is not None or path == "/public")
            if hasattr(body, "close"):
                body.close()
            gone = weakref.ref(environ)
            del environ, body
            assert gone() is None


# -- refusals: an exception holds the frames it came by, and none of them may hold the exception ---


@require_fb_token(scopes=["email"])
async def asgi_view(scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


@require_fb_token(scopes=["email"])
async def view_that_hears_graph(scope: Any, receive: Any, send: Any) -> None:
    raise OAuthException("Error validating access token", code=190)


@require_fb_token(scopes=["email"])
async def plain_view(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def in_fastapi(guard: Guard) -> Any:
    inner = FastAPI()

    @inner.get("/x")
    async def depending(token: Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]) -> None:
        return None

    return asgi.FBTokenMiddleware(inner, guard, policy=None)


def behind_a_backend(guard: Guard) -> Any:
    backend = FBAuthBackend(guard, Requirement(scopes=["email"]))
    middleware = Middleware(AuthenticationMiddleware, backend=backend, on_error=FBAuthBackend.on_error)
    return Starlette(routes=[Route("/x", plain_view)], middleware=[middleware])


async def serve_and_forget(door: Any, headers: list[tuple[bytes, bytes]], status: int) -> None:
    for _ in range(3):
        connection = Connection("http", "/x", list(headers))
        await door(connection.scope, connection.receive, connection.send)
        assert connection.sent[0]["status"] == status
        gone = weakref.ref(connection)
        del connection
        assert gone() is None


# No sync view: for a moment its worker thread still has hold of what it has done.
REFUSING = {
    "door": lambda guard: asgi.FBTokenMiddleware(app, guard, policy=Policy(Rule("/x", scopes=["email"]))),
    "view": lambda guard: asgi.FBTokenMiddleware(asgi_view, guard, policy=None),
    "view below a door": lambda guard: asgi.FBTokenMiddleware(asgi_view, guard),
    "Graph": lambda guard: asgi.FBTokenMiddleware(view_that_hears_graph, guard),
    "Starlette": lambda guard: asgi.FBTokenMiddleware(
        Starlette(routes=[Route("/x", view)]), guard, policy=None
    ),
    "FastAPI": in_fastapi,
    "AuthenticationMiddleware": behind_a_backend,
}


@pytest.mark.parametrize(
    ("headers", "scopes", "status"),
    [([], [], 401), (BEARER, [], 403), (BEARER, ["email"], 200)],
    ids=["no token", "without the scope", "with it"],
)
@pytest.mark.parametrize("which", REFUSING)
def test_of_a_request_that_may_be_refused(guard, graph, which, headers, scopes, status):
    graph.default = valid(scopes=scopes)
    if which == "Graph" and status == 200:
        status = 401  # what Graph says to the view
    door = REFUSING[which](guard)

    async def main() -> None:
        await serve_and_forget(door, headers, status)

    asyncio.run(main())


class Copies:
    """Middleware that gives the app a scope of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope}, receive, send)


def with_own_guard(which: str, own: Guard) -> Any:
    decorate = require_fb_token(guard=own)
    if which == "endpoint":

        @require_fb_token(guard=own, live=True)
        class Whole(HTTPEndpoint):
            async def get(self, request: Request) -> PlainTextResponse:
                return PlainTextResponse("ok")

        return Starlette(routes=[Route("/x", Whole)])

    async def text(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return decorate(app) if which == "plain" else Starlette(routes=[Route("/x", decorate(text))])


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("which", ["plain", "Starlette", "endpoint"])
def test_of_an_answer_that_is_marked_below_a_copy(guard, which, status):
    cookie = f"fb={TOKEN}" if status == 200 else "x=y"
    headers = [(b"host", b"x"), (b"cookie", cookie.encode())]

    async def main(own: Guard) -> None:
        door = asgi.FBTokenMiddleware(Copies(with_own_guard(which, own)), guard, policy=None)
        await own.acheck(TOKEN)  # a look-up has hold of its context for a moment, and of what is in that
        await serve_and_forget(door, headers, status)

    with make_guard(token_from=["cookie:fb"]) as own:
        asyncio.run(main(own))


def hears_graph(environ: Any, start_response: Any) -> list[bytes]:
    raise OAuthException("Error validating access token", code=190)


# Not a view of Flask: it answers by an HTTPException, as abort() does, and Flask's own frame keeps those.
WSGI_REFUSING = {
    "door": lambda guard: wsgi.FBTokenMiddleware(
        lambda environ, _: [b"ok"], guard, policy=Policy(Rule("/x", scopes=["email"]))
    ),
    "view": lambda guard: wsgi.FBTokenMiddleware(
        require_fb_token(scopes=["email"])(lambda environ, _: [b"ok"]), guard, policy=None
    ),
    "Graph": lambda guard: wsgi.FBTokenMiddleware(hears_graph, guard),
}


def _note(started: list[tuple[Any, ...]], status: str, headers: Any, exc_info: Any = None) -> None:
    started.append((status, headers))


@pytest.mark.parametrize("headers", [[], [("Authorization", f"Bearer {TOKEN}")]], ids=["none", "without"])
@pytest.mark.parametrize("which", WSGI_REFUSING)
def test_of_a_refused_request_in_wsgi(guard, graph, which, headers):
    graph.default = valid(scopes=["email"] if which == "Graph" else [])
    door = WSGI_REFUSING[which](guard)

    class Mark:
        pass

    for _ in range(3):
        environ = wsgi_environ("/x", headers=headers)
        environ["mark"] = Mark()
        gone = weakref.ref(environ["mark"])
        started: list[tuple[Any, ...]] = []
        body = door(environ, partial(_note, started))
        list(body)
        if hasattr(body, "close"):
            body.close()
        assert started.pop()[0][:3] in {"401", "403"}
        del environ, body
        assert gone() is None
