"""Fakes that behave, and one way to send a request through either door."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx

import fbguard
from fbguard import Guard, TokenInfo

PACKAGE = str(Path(fbguard.__file__).parent) + os.sep  # what lies in it is ours; a clone may bear its name
APP_ID = "1234567890"
SECRET = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
TOKEN = "EAABcanaryToken0123456789abcdefghijklmnopqrstuvwxyz"
NOW = 1_800_000_000
PATIENCE = 10.0  # seconds until a test that hangs is called a failure


class FakeClock:
    """Wall and monotonic time; each can be moved alone."""

    def __init__(self, wall: float = NOW, monotonic: float = 1000.0) -> None:
        self.wall = wall
        self.mono = monotonic

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


# -- what Graph says ---------------------------------------------------------------------------------


def facts(**changes: object) -> dict[str, Any]:
    """Return the ``data`` of a valid user token; an Ellipsis removes a key."""
    data: dict[str, Any] = {
        "app_id": APP_ID,
        "type": "USER",
        "application": "Test App",
        "data_access_expires_at": NOW + 90 * 86_400,
        "expires_at": NOW + 3600,
        "is_valid": True,
        "scopes": ["email", "public_profile"],
        "user_id": "1001",
    }
    return {key: value for key, value in (data | changes).items() if value is not ...}


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


def valid(**changes: object) -> Reply:
    return Reply(json.dumps({"data": facts(**changes)}).encode())


def dead(code: int, subcode: int | None = None, message: str = "Error.", **changes: object) -> Reply:
    error: dict[str, object] = {"code": code, "message": message}
    if subcode is not None:
        error["subcode"] = subcode
    return valid(is_valid=False, error=error, **changes)


def envelope(code: int, subcode: int | None = None, message: str = "Error.", status: int = 400) -> Reply:
    error: dict[str, object] = {"message": message, "type": "OAuthException", "code": code}
    if subcode is not None:
        error["error_subcode"] = subcode
    return Reply(json.dumps({"error": error}).encode(), status)


OTHER_APP = envelope(100, message="(#100) The App_id in the input_token did not match the Viewing App")


class Gate:
    """Holds coroutines of any event loop until a thread opens it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._is_open = True

    def shut(self) -> None:
        with self._lock:
            self._is_open = False

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if self._is_open:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


class FakeGraph(httpx.AsyncBaseTransport):
    """Answers debug_token by a script per token; every other token is valid."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | BaseException] = {}
        self.default: Reply | BaseException = valid()
        self.calls: list[str] = []
        self.requests: list[httpx.Request] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.closed = 0
        self.gate = Gate()
        self._arrival = threading.Condition()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "input_token" not in request.url.params:  # the guard's own probe
            return httpx.Response(
                200, stream=httpx.ByteStream(b'{"id":"%s"}' % APP_ID.encode()), request=request
            )
        token = request.url.params["input_token"]
        with self._arrival:
            self.calls.append(token)
            self.requests.append(request)
            self.loops.append(asyncio.get_running_loop())
            self._arrival.notify_all()
        await asyncio.sleep(0)  # as on a network: others get their turn
        await self.gate.passed()
        reply = self.replies.get(token, self.default)
        if isinstance(reply, BaseException):
            raise reply
        stream = httpx.ByteStream(reply.body)
        return httpx.Response(reply.status, headers=list(reply.headers), stream=stream, request=request)

    async def aclose(self) -> None:
        self.closed += 1

    def wait_for_calls(self, count: int) -> None:
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.calls) >= count, PATIENCE)


def make_guard(graph: FakeGraph | None = None, clock: FakeClock | None = None, **options: Any) -> Guard:
    wired: dict[str, Any] = {
        "app_id": APP_ID,
        "app_secret": SECRET,
        "transport": graph or FakeGraph(),
        "clock": clock or FakeClock(),
    }
    return Guard(**(wired | options))


def positives(guard: Guard) -> int:
    return len(guard._validator._cache._good)


def negatives(guard: Guard) -> int:
    return len(guard._validator._cache._bad)


def in_flight(guard: Guard) -> int:
    return sum(len(local.flights) for local in guard._look_ups._local._by_loop.values())


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks and threads run until the condition holds."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, "this did not happen"
        await asyncio.sleep(0)


def wait_until(condition: Callable[[], object]) -> None:
    """Do what :func:`until` does, in a test without a loop."""
    with asyncio.Runner() as runner:
        runner.run(until(condition))


def hears(*guards: Guard) -> None:
    """Wait until guards hear of what others end: of what ended before, each only hears when it asks."""
    wait_until(lambda: all(guard.health().store.status == "ok" for guard in guards))


class MovableLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be moved on, so that nobody waits for a deadline."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += seconds
        self.call_soon_threadsafe(lambda: None)  # wake it: its timers are to be looked at


# -- one request through a door ------------------------------------------------------------------------

Headers = Iterable[tuple[str, str]]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes
    ran: bool = False
    info: TokenInfo | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None

    @property
    def challenge(self) -> str:
        return self.header("www-authenticate") or ""

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        assert self.header("content-type") == "application/problem+json"
        return self.json["reason"]


def http_scope(path: str = "/", method: str = "GET", headers: Headers = (), **more: object) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 50000),
        **more,
    }


async def call_asgi(app: Any, scope: dict[str, Any], body: bytes = b"") -> Answer:
    messages: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    is_done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await is_done.wait()  # the client leaves when it has its answer; Quart waits for that
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            is_done.set()

    await app(scope, receive, send)
    start, *rest = messages
    assert start["type"] == "http.response.start"
    assert rest, "a response without a body message never ends"
    assert not rest[-1].get("more_body", False)
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in rest), messages=messages)


def wsgi_environ(
    path: str = "/", method: str = "GET", headers: Headers = (), **more: object
) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        **more,
    }
    for name, value in headers:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value  # as servers join them
    setup_testing_defaults(environ)
    return environ


class Server:
    """The half of PEP 3333 that a server does, step by step."""

    def __init__(self) -> None:
        self.started: list[tuple[str, list[tuple[str, str]]]] = []
        self.sent = b""
        self.headers_sent = False

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.started:
            raise AssertionError("start_response was called twice without exc_info")
        self.started.append((status, headers))
        return self.write

    def write(self, data: bytes) -> None:
        if data:
            assert self.started
            self.headers_sent = True
            self.sent += data

    def serve(self, app: Any, environ: dict[str, Any]) -> Answer:
        body = app(environ, self.start_response)
        try:
            for chunk in body:
                self.write(chunk)
        finally:
            if hasattr(body, "close"):
                body.close()
        return self.answer()

    def answer(self) -> Answer:
        status, headers = self.started[-1]
        return Answer(int(status[:3]), [(name.lower(), value) for name, value in headers], self.sent)


def call_wsgi(app: Any, environ: dict[str, Any]) -> Answer:
    return Server().serve(app, environ)
