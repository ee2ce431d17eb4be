"""On real servers: what a client sees of a WebSocket that is closed, and of a stream that is broken off."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fbguard import Guard, Policy, Rule, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from tests.integrations.test_fastapi_served import on_hypercorn, on_uvicorn
from tests.support import PATIENCE, TOKEN

ROOT = Path(__file__).parents[2]
PROMISED, MARGIN = 1.0, 3.0  # seconds
POLICY = Policy(Rule("/rule", live=True))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


async def _events() -> AsyncIterator[bytes]:
    yield b"data: one\n\n"
    await asyncio.sleep(PATIENCE)
    yield b"data: late\n\n"


async def stream(request: Any) -> StreamingResponse:
    return StreamingResponse(_events(), media_type="text/event-stream")


def site(guard: Guard) -> Any:
    routes = [
        WebSocketRoute("/ws", echo),
        Route("/rule", stream),
        Route("/view", require_fb_token(live=True)(stream)),
    ]
    return FBTokenMiddleware(Starlette(routes=routes), guard, policy=POLICY)


@contextmanager
def opened(url: str, path: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        client.sendall(head.encode())
        yield client


def read_until(client: socket.socket, end: bytes) -> bytes:
    """Read until the bytes end so; with b"" until the connection does."""
    data = b""
    while not (end and data.endswith(end)):
        chunk = client.recv(65_536)
        if not chunk:
            assert not end, data
            break
        data += chunk
    return data


def check_cut(url: str, path: str, guard: Guard) -> None:
    with opened(url, path) as client:
        head = read_until(client, b"data: one\n\n\r\n")
        assert b" 200 " in head
        assert b"chunked" in head.lower()
        guard.expire_session(TOKEN)
        began = time.monotonic()
        assert read_until(client, b"") == b""  # above all not "0", which ends a body well
        assert time.monotonic() - began < PROMISED + MARGIN
    assert len(guard.live) == 0


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_h14_a_websocket_on_uvicorn_is_closed_with_1008(guard, clock, caplog, ws, how):
    with (
        caplog.at_level(logging.WARNING),
        on_uvicorn(site(guard), ws) as url,
        connect(
            url.replace("http", "ws") + "/ws", additional_headers={"Authorization": f"Bearer {TOKEN}"}
        ) as client,
    ):
        client.send("one")
        assert client.recv(PATIENCE) == "one"
        if how == "revoked":
            guard.expire_session(TOKEN)
        else:
            clock.advance(3600)
        began = time.monotonic()
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(PATIENCE)
        assert time.monotonic() - began < PROMISED + MARGIN
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
            1008,
            "session_invalidated" if how == "revoked" else "expired",
        )
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert len(guard.live) == 0


@pytest.mark.parametrize("path", ["/rule", "/view"])
@pytest.mark.parametrize("on", [on_uvicorn, on_hypercorn])
def test_a_stream_on_a_server_is_broken_off(guard, on, path):
    with on(site(guard)) as url:
        check_cut(url, path, guard)


def test_a_stream_on_uvicorn_is_broken_off_when_its_token_expires(guard, clock):
    with on_uvicorn(site(guard)) as url, opened(url, "/rule") as client:
        read_until(client, b"data: one\n\n\r\n")
        clock.advance(3600)
        began = time.monotonic()
        assert read_until(client, b"") == b""
        assert time.monotonic() - began < PROMISED + MARGIN


# -- servers that are processes: the app ends the session itself, a moment after its first chunk -----------

APPS = """
import asyncio, time
from fbguard import Guard, Policy, Rule
from fbguard import asgi, wsgi
from tests.support import TOKEN, FakeGraph

guard = Guard(app_id="1234567890", app_secret="0a1b2c3d4e5f60718293a4b5c6d7e8f9", transport=FakeGraph())
policy = Policy(Rule("/rule", live=True))

async def events(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: one\\n\\n", "more_body": True})
    asyncio.get_running_loop().call_later(0.1, guard.expire_session, TOKEN)
    await asyncio.sleep(10)

def lines(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"data: one\\n\\n"
    guard.expire_session(TOKEN)
    yield b"data: late\\n\\n"

async_app = asgi.FBTokenMiddleware(events, guard, policy=policy)
sync_app = wsgi.FBTokenMiddleware(lines, guard, policy=policy)
"""

SERVERS = {
    "granian": ["granian", "--interface", "asgi", "--no-ws", "--port", "{port}", "live_apps:async_app"],
    # Not granian --interface wsgi, which ends every body well whose code raises (2.8).
    "gunicorn": ["gunicorn", "-b", "127.0.0.1:{port}", "live_apps:sync_app"],
    "gunicorn-threads": [
        "gunicorn", "-k", "gthread", "--threads", "2", "-b", "127.0.0.1:{port}", "live_apps:sync_app",
    ],
}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_on_a_server_process_is_broken_off(tmp_path, server):
    (tmp_path / "live_apps.py").write_text(APPS)
    port = free_port()
    command = [part.format(port=port) for part in SERVERS[server]]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_for(port, process)
        with opened(f"http://127.0.0.1:{port}", "/rule") as client:
            data = read_until(client, b"")
    finally:
        process.terminate()
        log = process.communicate(timeout=PATIENCE)[0].decode()
    assert data.lower().endswith(b"b\r\ndata: one\n\n\r\n"), data  # a chunk of 11 bytes, and no last one
    if "gunicorn" in server:
        assert "Traceback" not in log


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + 3 * PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.05)
        else:
            return
