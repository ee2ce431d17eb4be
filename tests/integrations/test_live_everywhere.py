"""WebSockets and streams in every framework end with their token, whoever guards them."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path as django_path
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from flask import Flask, Response, abort, after_this_request, send_file
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fbguard import Policy, Requirement, Rule, TokenInfo, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBRoute, FBToken
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import FBAuthBackend
from fbguard.live import comes_of_cut
from tests.integrations.django_site import GUARDING
from tests.support import PATIENCE, TOKEN, Server, make_guard, until, wsgi_environ
from tests.test_live import BEARER, Wire, run

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

HEADERS = dict(BEARER)
LIVE_POLICY = Policy(Rule("/{rest:path}", live=True))
PUBLIC = Policy(Rule("/{rest:path}", public=True))


# -- WebSockets ------------------------------------------------------------------------------------------


async def _echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


class _Endpoint(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await websocket.send_text(data)


class _Decorated(_Endpoint):
    @require_fb_token
    async def dispatch(self) -> None:
        await super().dispatch()


def _fastapi(**options: Any) -> FastAPI:
    app = FastAPI()
    router = APIRouter(**options)

    @router.websocket("/ws")
    async def ws(socket: WebSocket, token: Annotated[TokenInfo, Depends(FBToken())]) -> None:
        await _echo(socket)

    app.include_router(router)
    return app


def _starlette(view: Any) -> Starlette:
    return Starlette(routes=[WebSocketRoute("/ws", view)])


def _authenticated(guard: Any) -> Any:
    backend = Middleware(AuthenticationMiddleware, backend=FBAuthBackend(guard))
    return FBTokenMiddleware(
        Starlette(routes=[WebSocketRoute("/ws", _echo)], middleware=[backend]), guard, policy=None
    )


SOCKETS: dict[str, Callable[[Any], Any]] = {
    "door": lambda guard: FBTokenMiddleware(_starlette(_echo), guard),
    "inside": lambda guard: Starlette(
        routes=[WebSocketRoute("/ws", _echo)], middleware=[Middleware(FBTokenMiddleware, guard=guard)]
    ),
    "endpoint": lambda guard: FBTokenMiddleware(_starlette(_Endpoint), guard),
    "decorator": lambda guard: FBTokenMiddleware(_starlette(require_fb_token(_echo)), guard, policy=None),
    "live decorator": lambda guard: FBTokenMiddleware(
        _starlette(require_fb_token(live=True)(_echo)), guard, policy=PUBLIC
    ),
    "decorated endpoint": lambda guard: FBTokenMiddleware(_starlette(_Decorated), guard, policy=None),
    "dependency": lambda guard: FBTokenMiddleware(_fastapi(), guard, policy=None),
    "dependency, twice": lambda guard: FBTokenMiddleware(
        _fastapi(dependencies=[Depends(FBToken(live=True, max_fact_age=0))]), guard
    ),
    "backend": _authenticated,
}


@pytest.mark.parametrize("name", SOCKETS)
def test_h14_an_open_websocket_is_closed_with_1008(guard, name):
    with (
        TestClient(SOCKETS[name](guard)) as client,
        client.websocket_connect("/ws", headers=HEADERS) as socket,
    ):
        socket.send_text("one")
        assert socket.receive_text() == "one"
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert (caught.value.code, caught.value.reason) == (1008, "session_invalidated")
    assert len(guard.live) == 0


def test_h14_an_open_websocket_is_closed_when_its_token_expires(guard, clock):
    app = SOCKETS["door"](guard)
    with TestClient(app) as client, client.websocket_connect("/ws", headers=HEADERS) as socket:
        clock.advance(3600)
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert (caught.value.code, caught.value.reason) == (1008, "expired")


def test_a_websocket_that_ends_by_itself_is_forgotten(guard):
    with TestClient(SOCKETS["decorator"](guard)) as client:
        for _ in range(5):
            with client.websocket_connect("/ws", headers=HEADERS) as socket:
                socket.send_text("one")
                socket.receive_text()
        assert len(guard.live) == 0


def test_a_live_websocket_without_a_door_says_what_it_needs(guard):
    bare = _starlette(require_fb_token(live=True, guard=guard)(_echo))
    depending = _fastapi(dependencies=[Depends(FBToken(live=True, guard=guard))])
    for app in (bare, depending):
        with (
            TestClient(app) as client,
            pytest.raises(RuntimeError, match="a WebSocket needs an FBTokenMiddleware"),
            client.websocket_connect("/ws", headers=HEADERS),
        ):
            pass


# -- streams in ASGI -------------------------------------------------------------------------------------


class Body:
    """What a streamed body does: two chunks, then a long wait."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.release = threading.Event()
        self.users: list[str | None] = []
        self.closed = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in (b"one", b"two"):
                self.users.append(current_token(required=True).user_id)
                yield chunk
            self.reached.set()
            await asyncio.sleep(PATIENCE)
            yield b"late"
        finally:
            self.closed += 1

    def sync_chunks(self) -> Iterator[bytes]:
        try:
            yield b"one"
            yield b"two"
            self.reached.set()
            assert self.release.wait(PATIENCE)
            yield b"late"
        finally:
            self.closed += 1


def _streaming(body: Body) -> Any:
    async def view(request: Any) -> StreamingResponse:
        return StreamingResponse(body.chunks())

    return view


def _streaming_sync(body: Body) -> Any:
    def view(request: Any) -> StreamingResponse:
        return StreamingResponse(body.sync_chunks())

    return view


async def _passing(request: Any, call_next: Any) -> Any:
    return await call_next(request)


BASE = Middleware(BaseHTTPMiddleware, dispatch=_passing)


def _site(view: Any, *middleware: Middleware) -> Starlette:
    return Starlette(routes=[Route("/s", view)], middleware=[*middleware])


STREAMS: dict[str, Callable[[Any, Any], Any]] = {
    "rule": lambda view, guard: FBTokenMiddleware(_site(view), guard, policy=LIVE_POLICY),
    "rule, inside middleware": lambda view, guard: _site(
        view, BASE, Middleware(FBTokenMiddleware, guard=guard, policy=LIVE_POLICY)
    ),
    "rule, around middleware": lambda view, guard: FBTokenMiddleware(
        _site(view, BASE), guard, policy=LIVE_POLICY
    ),
    "view": lambda view, guard: FBTokenMiddleware(
        _site(require_fb_token(live=True)(view)), guard, policy=None
    ),
    "view under a rule": lambda view, guard: FBTokenMiddleware(
        _site(require_fb_token(live=True)(view)), guard, policy=LIVE_POLICY
    ),
    "view without a door": lambda view, guard: _site(require_fb_token(live=True, guard=guard)(view)),
    "view in middleware, under a door": lambda view, guard: FBTokenMiddleware(
        _site(require_fb_token(live=True)(view), BASE), guard, policy=None
    ),
    "view in middleware": lambda view, guard: _site(require_fb_token(live=True, guard=guard)(view), BASE),
}


@pytest.mark.parametrize("spec", ["2.0", "2.4"])
@pytest.mark.parametrize("make", [_streaming, _streaming_sync])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_starlette_is_broken_off(guard, name, make, spec):
    async def test() -> None:
        body, wire = Body(), Wire("http", "/s", asgi={"version": "3.0", "spec_version": spec})
        serving = wire.serve(STREAMS[name](make(body), guard))
        await until(body.reached.is_set)
        guard.expire_session(TOKEN)
        await asyncio.sleep(0.02)
        body.release.set()  # nobody can interrupt a thread: it is cut before its next chunk
        with pytest.raises((OSError, ClientDisconnect)) as caught:
            await serving
        assert comes_of_cut(caught.value)
        assert b"".join(message.get("body", b"") for message in wire.sent) == b"onetwo"
        # Starlette's BaseHTTPMiddleware ends every body that breaks off below it.
        if name not in {"rule, inside middleware", "view in middleware"}:
            assert all(message.get("more_body", True) for message in wire.sent)
        assert len(guard.live) == 0
        if make is _streaming:
            assert (body.closed, body.users) == (1, ["1001", "1001"])

    run(test)


@pytest.mark.parametrize("has_door", [False, True])
@pytest.mark.parametrize("whose", ["outer", "inner"])
def test_a_live_requirement_of_starlette_around_anothers_ends_with_the_token_of_each(guard, whose, has_door):
    async def test() -> None:
        body, inner, wire = Body(), make_guard(), Wire("http", "/s")
        view = require_fb_token(live=True, guard=guard)(require_fb_token(guard=inner)(_streaming(body)))
        app: Any = FBTokenMiddleware(_site(view), inner, policy=None) if has_door else _site(view)
        serving = wire.serve(app)
        await until(body.reached.is_set)
        (guard if whose == "outer" else inner).expire_session(TOKEN)
        with pytest.raises((OSError, ClientDisconnect)) as caught:
            await serving
        assert comes_of_cut(caught.value)
        assert (len(guard.live), len(inner.live)) == (0, 0)

    run(test)


def _endpoint(body: Body, guard: Any, *, begun: bool = True) -> Any:
    """Return a class that is decorated as a whole: it sends by itself."""

    @require_fb_token(live=True, guard=guard)
    class Whole(HTTPEndpoint):
        async def get(self, request: Any) -> Any:
            if not begun:
                body.reached.set()
                await asyncio.sleep(PATIENCE)
            return StreamingResponse(body.chunks())

    return Whole


@pytest.mark.parametrize("has_door", [False, True])
@pytest.mark.parametrize("begun", [True, False])
def test_a_live_endpoint_of_starlette_is_broken_off_or_refused(guard, begun, has_door):
    async def test() -> None:
        body, wire = Body(), Wire("http", "/s")
        app: Any = Starlette(routes=[Route("/s", _endpoint(body, guard, begun=begun))])
        serving = wire.serve(FBTokenMiddleware(app, guard, policy=None) if has_door else app)
        await until(body.reached.is_set)
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        if begun:
            with pytest.raises((OSError, ClientDisconnect)):
                await serving
            assert b"".join(message.get("body", b"") for message in wire.sent) == b"onetwo"
            assert all(message.get("more_body", True) for message in wire.sent)
            assert (body.closed, body.users) == (1, ["1001", "1001"])
        else:
            await serving
            assert wire.sent[0]["status"] == 401
        assert len(guard.live) == 0

    run(test)


def test_the_methods_of_a_live_endpoint_answer_as_before(guard):
    """Also where a method has a live requirement of its own, whose answer the class sends."""

    class Parts(HTTPEndpoint):
        @require_fb_token(live=True)
        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("get")

        @require_fb_token(live=True)
        def post(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("post")

    for endpoint in (Parts, require_fb_token(live=True)(Parts)):
        app = FBTokenMiddleware(Starlette(routes=[Route("/s", endpoint)]), guard, policy=None)
        with TestClient(app) as client:
            assert client.get("/s", headers=HEADERS).text == "get"
            assert client.post("/s", headers=HEADERS).text == "post"
            assert client.put("/s", headers=HEADERS).status_code == 405
            assert client.get("/s").status_code == 401
    assert len(guard.live) == 0


def _wrapped(view: Any) -> Any:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("around", [lambda view: view, _wrapped])
@pytest.mark.parametrize("live", [True, False])
def test_a_generator_endpoint_of_fastapi_says_that_it_would_block_the_loop(guard, live, around):
    app = FastAPI()

    def ticks() -> Iterator[str]:
        yield "tick"

    app.get("/s")(require_fb_token(live=live)(around(ticks)))
    with TestClient(FBTokenMiddleware(app, guard, policy=None)) as client:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="must not wait for Facebook there: have a door judge"):
                client.get("/s", headers=HEADERS)
        guard.check(TOKEN)
        assert client.get("/s", headers=HEADERS).status_code == 200  # nothing is to be waited for
    for _ in range(2):
        with TestClient(FBTokenMiddleware(app, make_guard())) as client:
            assert client.get("/s", headers=HEADERS).text == '"tick"\n'


def test_a_generator_view_of_flask_may_be_tried_where_a_loop_runs(guard):
    """In a notebook, say: Flask itself waits there, too."""
    app = Flask(__name__)
    FBGuard(app, guard, policy=None)

    @app.get("/s")
    @require_fb_token
    def ticks() -> Iterator[str]:
        yield "tick"

    async def main() -> None:
        assert app.test_client().get("/s", headers=HEADERS).text == "tick"

    asyncio.run(main())


def test_a_generator_endpoint_of_fastapi_that_is_live_is_cut(guard):
    app = FastAPI()

    @app.get("/s")
    @require_fb_token(live=True)
    def ticks() -> Iterator[str]:
        yield from _chunks(guard)

    async def test() -> None:
        guard.check(TOKEN)
        wire = Wire("http", "/s")
        with pytest.raises((OSError, ExceptionGroup)):
            await wire.serve(FBTokenMiddleware(app, guard, policy=None))
        assert b"".join(message.get("body", b"") for message in wire.sent) == b'"one"\n'
        assert all(message.get("more_body", True) for message in wire.sent)
        assert len(guard.live) == 0

    run(test)


def test_other_generators_may_wait(guard):
    """Those that run in a thread: of a sync view, and of an app of WSGI."""

    @require_fb_token
    def rows(request: Any) -> Iterator[bytes]:
        yield (current_token(required=True).user_id or "").encode()

    def view(request: Any) -> StreamingResponse:
        return StreamingResponse(rows(request))

    @require_fb_token
    def wsgi_app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield (current_token(required=True).user_id or "").encode()

    for route in (Route("/s", view), Mount("/", WsgiToAsgi(wsgi_app))):
        with TestClient(FBTokenMiddleware(Starlette(routes=[route]), guard, policy=None)) as client:
            for _ in range(2):
                assert client.get("/s", headers=HEADERS).text == "1001"


def test_the_background_task_of_a_live_view_runs_on(guard):
    done: list[str] = []

    async def task() -> None:
        guard.expire_session(TOKEN)
        await asyncio.sleep(0.05)
        done.append("task")

    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse("all", background=BackgroundTask(task))

    for policy in (LIVE_POLICY, None):
        wrapped = require_fb_token(live=True)(view)
        with TestClient(FBTokenMiddleware(_site(wrapped), guard, policy=policy)) as client:
            answer = client.get("/s", headers=HEADERS)
        assert answer.status_code == (200 if policy else 401)
    assert done == ["task"]


def test_what_no_dependency_and_no_backend_can_cut_they_refuse_to_promise(guard):
    with pytest.raises(RuntimeError, match="live=True finds nothing here"):
        FBAuthBackend(guard, Requirement(live=True))
    app = FastAPI()
    router = APIRouter(route_class=FBRoute)

    @app.get("/s")
    @router.get("/early")
    async def view(token: Annotated[TokenInfo, Depends(FBToken(live=True))]) -> str:
        return "x"

    app.include_router(router)
    for path in ("/s", "/early"):
        with (
            TestClient(FBTokenMiddleware(app, guard, policy=None)) as client,
            pytest.raises(RuntimeError, match=r"a Rule\(\.\.\., live=True\)"),
        ):
            client.get(path, headers=HEADERS)
        with TestClient(FBTokenMiddleware(app, guard, policy=LIVE_POLICY)) as client:
            assert client.get(path, headers=HEADERS).status_code == 200


# -- Flask -----------------------------------------------------------------------------------------------


def _flask(guard: Any, policy: Policy | None, body: Callable[[], Any], **decorated: Any) -> Flask:
    app = Flask(__name__)
    FBGuard(app, guard, policy=policy)

    def view() -> Any:
        return body()

    app.add_url_rule("/s", "s", require_fb_token(**decorated)(view) if decorated else view)
    return app


def _chunks(guard: Any) -> Iterator[str]:
    yield "one"
    guard.expire_session(TOKEN)
    yield "two"


class _Sized:
    """What knows how many chunks it will give, and makes them one by one."""

    def __init__(self, guard: Any) -> None:
        self._chunks = _chunks(guard)

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        return self._chunks


KINDS: dict[str, Callable[[Any], Any]] = {
    "generator": _chunks,
    "response": lambda guard: Response(_chunks(guard)),
    "tuple": lambda guard: (_chunks(guard), 200),
    "aborted": lambda guard: abort(Response(_chunks(guard))),
    "passed through, a generator": lambda guard: Response(
        (chunk.encode() for chunk in _chunks(guard)), direct_passthrough=True
    ),
    "of known length": lambda guard: Response(_Sized(guard)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["rule", "view"])
def test_a_stream_of_flask_is_broken_off(guard, how, kind):
    def body() -> Any:
        return KINDS[kind](guard)

    app = _flask(guard, LIVE_POLICY, body) if how == "rule" else _flask(guard, None, body, live=True)
    server = Server()
    with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
        server.serve(app, wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"
    assert len(guard.live) == 0


def test_a_stream_that_a_view_of_flask_makes_after_itself_is_broken_off(guard):
    def body() -> Any:
        after_this_request(lambda _response: Response(_chunks(guard)))
        return "replaced"

    server = Server()
    with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
        server.serve(_flask(guard, None, body, live=True), wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"
    assert len(guard.live) == 0


def test_a_plain_stream_of_flask_and_a_file_stay_as_they_are(guard):
    app = _flask(guard, Policy(Rule("/s"), Rule("/other", live=True)), lambda: Response(_chunks(guard)))
    assert Server().serve(app, wsgi_environ("/s", headers=BEARER)).body == b"onetwo"


def test_a_file_of_a_live_view_keeps_its_fast_way(guard):
    class FileWrapper:
        def __init__(self, file: Any, size: int = 8192) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.file)

        def close(self) -> None:
            self.file.close()

    app = _flask(guard, LIVE_POLICY, lambda: send_file(__file__), live=True)
    environ = wsgi_environ("/s", headers=BEARER, **{"wsgi.file_wrapper": FileWrapper})
    body: Any = app(environ, Server().start_response)
    assert b"keeps_its_fast_way" in b"".join(body)
    body.close()
    assert len(guard.live) == 0


# -- Django ----------------------------------------------------------------------------------------------


class DjangoSite:
    """One route; with it Django's settings must point here."""

    def __init__(self, view: Any) -> None:
        self.urlpatterns = [django_path("s", view)]


def _settings(guard: Any, monkeypatch: Any, view: Any, policy: Policy | None) -> Any:
    from fbguard.integrations import django

    monkeypatch.setattr(django, "guard", lambda: guard)
    monkeypatch.setattr(django, "policy", lambda: policy)
    middleware = [GUARDING]
    return override_settings(ROOT_URLCONF=DjangoSite(view), MIDDLEWARE=middleware, FBGUARD={})


@pytest.mark.parametrize("how", ["rule", "view"])
def test_a_sync_stream_of_django_is_broken_off(guard, monkeypatch, how):
    def view(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(_chunks(guard))

    decorated = view if how == "rule" else require_fb_token(live=True)(view)
    with _settings(guard, monkeypatch, decorated, LIVE_POLICY if how == "rule" else None):
        server = Server()
        with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
            server.serve(WSGIHandler(), wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"
    assert len(guard.live) == 0


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # the request's body, by Django
@pytest.mark.parametrize("how", ["rule", "view"])
def test_an_async_stream_of_django_is_broken_off(guard, monkeypatch, how):
    body = Body()

    async def view(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(body.chunks())

    decorated = view if how == "rule" else require_fb_token(live=True)(view)

    async def test() -> None:
        wire = Wire("http", "/s")
        wire.incoming.get_nowait()
        wire.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        serving = wire.serve(ASGIHandler())
        await until(body.reached.is_set)
        guard.expire_session(TOKEN)
        with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
            await serving
        assert all(message.get("more_body", True) for message in wire.sent)
        assert len(guard.live) == 0

    with _settings(guard, monkeypatch, decorated, LIVE_POLICY if how == "rule" else None):
        run(test)


def test_what_is_no_stream_in_django_stays_as_it_is(guard, monkeypatch):
    with _settings(guard, monkeypatch, lambda _: HttpResponse("all"), LIVE_POLICY):
        assert Server().serve(WSGIHandler(), wsgi_environ("/s", headers=BEARER)).body == b"all"
