"""The programs of docs/live.md run, and cut what the page says."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fbguard.testing import assert_refused
from tests.support import Server, wsgi_environ

PAGE = Path(__file__).parents[2] / "docs" / "live.md"
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


def run(number: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number}", "exec"), vars(module))
    return module


def test_every_block_is_known():
    assert len(BLOCKS) == 3


def test_the_websocket(sandbox, monkeypatch):
    module, token = run(0, monkeypatch), sandbox.issue_token()
    with (
        TestClient(module.app) as client,
        client.websocket_connect("/chat", headers=sandbox.bearer(token)) as socket,
    ):
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
        module.guard.expire_session(token)
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert (caught.value.code, caught.value.reason) == (1008, "session_invalidated")


def test_the_stream_of_starlette(sandbox, monkeypatch):
    module, token = run(1, monkeypatch), sandbox.issue_token()
    with TestClient(module.app) as client:
        ending = threading.Timer(0.3, module.guard.expire_session, [token])
        ending.start()
        with pytest.raises((OSError, ClientDisconnect)):
            client.get("/events", headers=sandbox.bearer(token))
        ending.join()
        assert_refused(client.get("/events", headers=sandbox.bearer(token)), "session_invalidated")


def test_the_stream_of_flask(sandbox, monkeypatch):
    module, token = run(2, monkeypatch), sandbox.issue_token()
    ending = threading.Timer(0.3, module.guard.expire_session, [token])
    ending.start()
    server = Server()
    with pytest.raises(ConnectionAbortedError), module.guard:
        server.serve(module.app, wsgi_environ("/events", headers=list(sandbox.bearer(token).items())))
    assert server.sent.startswith(b"data: tick\n\n")
    ending.join()


def test_lines_are_short_and_links_lead_somewhere():
    text = PAGE.read_text()
    assert max(map(len, text.splitlines())) <= 130
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGE.parent / link).exists(), link
