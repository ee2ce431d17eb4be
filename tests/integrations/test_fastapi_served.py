# ruff: noqa: N802 - named after the rows of the threat table
"""FastAPI and Starlette on a real uvicorn: what its log says of refusals, and HTTP/2 on hypercorn."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, WebSocket
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from fbguard import Guard, Requirement, TokenInfo, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBToken
from fbguard.testing import assert_allowed, assert_refused

pytest_plugins = ["fbguard.testing"]

STARTING = 10.0  # seconds
# uvicorn's default implementation says so of every denial response (its pull request 3138).
OF_UVICORN = {"websockets-sansio": {"ASGI callable returned without completing handshake."}, "wsproto": set()}


class _Server(uvicorn.Server):
    def __init__(self, app: Any, ws: Any) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, ws=ws, lifespan="on"))
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


@contextmanager
def on_uvicorn(app: Any, ws: str = "none") -> Iterator[str]:
    server = _Server(app, ws)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by connections
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            assert server.ready.wait(STARTING)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(STARTING)
            assert not thread.is_alive()


@contextmanager
def on_hypercorn(app: Any) -> Iterator[str]:
    loop, over, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by connections
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.accesslog = config.errorlog = None

        async def run() -> None:
            ready.set()
            await serve(app, config, shutdown_trigger=over.wait)  # type: ignore[arg-type]

        def target() -> None:
            loop.run_until_complete(run())
            loop.close()

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        try:
            assert ready.wait(STARTING)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join(STARTING)
            assert not thread.is_alive()
            listener.detach()  # hypercorn has closed it


def _fastapi(guard: Guard) -> FastAPI:
    app = FastAPI()

    @app.get("/email")
    async def email(token: Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]) -> str:
        return token.user_id or ""

    @app.websocket("/ws")
    async def live(websocket: WebSocket, token: Annotated[TokenInfo, Depends(FBToken())]) -> None:
        await _serve_socket(websocket, guard)

    return app


def _starlette(guard: Guard) -> Starlette:
    @require_fb_token(scopes=["email"])
    async def email(request: Request) -> Response:
        return PlainTextResponse(request.state.fb_token.user_id)

    @require_fb_token
    async def live(websocket: WebSocket) -> None:
        await _serve_socket(websocket, guard)

    return Starlette(routes=[Route("/email", email), WebSocketRoute("/ws", live)])


async def _serve_socket(websocket: WebSocket, guard: Guard) -> None:
    await websocket.accept()
    token = websocket.headers["authorization"].removeprefix("Bearer ")
    while True:
        scope = await websocket.receive_text()
        await guard.acheck(token, Requirement(scopes=[scope]))
        await websocket.send_text("yes")


@pytest.fixture(params=["fastapi", "starlette"])
def bare(request: pytest.FixtureRequest, fb_guard: Guard) -> Any:
    return {"fastapi": _fastapi, "starlette": _starlette}[request.param](fb_guard)


@pytest.fixture(params=["state", "inside", "around"])
def app(request: pytest.FixtureRequest, bare: Any, fb_guard: Guard) -> Any:
    if request.param == "inside":
        bare.add_middleware(FBTokenMiddleware, guard=fb_guard, policy=None)
    elif request.param == "around":
        return FBTokenMiddleware(bare, fb_guard, policy=None)
    else:
        bare.state.fbguard = fb_guard
    return bare


@pytest.mark.slow
def test_a_hundred_refusals_leave_nothing_in_the_log(app, fb_token, fb_sandbox, caplog, monkeypatch):
    for name in ("uvicorn", "uvicorn.error"):  # as they are in a process of their own
        for attribute, value in (("propagate", True), ("disabled", False), ("level", logging.INFO)):
            monkeypatch.setattr(logging.getLogger(name), attribute, value)
        logging.getLogger(name).manager._clear_cache()
    plain, expired = fb_token.headers(), fb_token.headers(expires_in=-1)
    with caplog.at_level(logging.INFO), on_uvicorn(app) as url, httpx.Client(base_url=url) as client:
        for _ in range(33):
            assert_refused(client.get("/email"), "missing_token")
            assert_refused(client.get("/email", headers=plain), "insufficient_scope")
            assert_refused(client.get("/email", headers=expired), "expired")
        fb_sandbox.fail(500)
        assert_refused(client.get("/email", headers=fb_token.headers()), "unavailable")
        fb_sandbox.recover()
        assert_allowed(client.get("/email", headers=fb_token.headers(scopes=["email"])))
    of_uvicorn = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert of_uvicorn, "its log was not seen at all"
    assert [record.getMessage() for record in of_uvicorn if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("ws", OF_UVICORN)
def test_sockets(app, fb_token, caplog, ws):
    with caplog.at_level(logging.INFO), on_uvicorn(app, ws) as url:
        address = url.replace("http", "ws") + "/ws"
        for headers, status in (({}, 401), (fb_token.headers(expires_in=-1), 401)):
            with pytest.raises(InvalidStatus) as refused, connect(address, additional_headers=headers):
                raise AssertionError("it was accepted")
            assert refused.value.response.status_code == status
            assert refused.value.response.headers["WWW-Authenticate"].startswith("Bearer ")
        with connect(address, additional_headers=fb_token.headers(scopes=["email"])) as live:
            live.send("email")
            assert live.recv(timeout=STARTING) == "yes"
            live.send("user_posts")
            with pytest.raises(ConnectionClosedError) as closed:
                live.recv(timeout=STARTING)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "insufficient_scope")
    loud = [record for record in caplog.records if record.name == "uvicorn.error" and record.levelno >= 30]
    assert {record.getMessage() for record in loud} == OF_UVICORN[ws]


def test_H16_on_http_2(bare, fb_guard, fb_token):
    """Prior knowledge of HTTP/2, without TLS; field names are in lower case there."""
    bare.state.fbguard = fb_guard
    good = fb_token.headers(scopes=["email"])["Authorization"]
    with on_hypercorn(bare) as url, httpx.Client(base_url=url, http1=False, http2=True) as client:
        answer = client.get("/email", headers={"AUTHORIZATION": good})
        assert_allowed(answer)
        assert answer.http_version == "HTTP/2"
        for values in ([good, good], [good, "Bearer other"]):
            twice = client.get("/email", headers=[("authorization", value) for value in values])
            assert_refused(twice, "invalid_request", status=400)
        assert_refused(client.get("/email"), "missing_token")
