"""The two protocols, in process: the app that is guarded, a middleware that does nothing, a server's part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.requests import Request, environ_of, scope_of
from fbguard import TokenInfo
from fbguard.asgi import ASGIApp, Message, Receive, Scope, Send
from fbguard.context import STATE_ATTRIBUTE, TOKEN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_BODY: Final = b'{"ok": true}'

Look = Callable[[], TokenInfo | None]
Proof = Callable[[dict[str, Any]], bool]  # whether a request went in as it should, by its scope or environ


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer's status, and the facts in each place at the moment when the answer began."""

    status: int
    facts: tuple[TokenInfo | None, ...]


class Side(Protocol):
    """One protocol's half of a server."""

    def ask(self, app: Any, request: Request, look: Look) -> Seen:
        """Serve one request; ``look`` is how code of the app asks for the facts."""
        ...

    def serve(self, app: Any, requests: Sequence[Request], proof: Proof) -> float:
        """Serve requests; return the seconds. Raises RuntimeError if one does not stand the proof."""
        ...


def has_facts(expected: TokenInfo | None) -> Proof:
    """Return the proof that a guard has given a request these facts, or none."""
    return lambda carrier: carrier.get(TOKEN) is expected


def _check(carriers: Sequence[dict[str, Any]], proof: Proof) -> None:
    # After the clock was stopped: a door that refused left None there, or nothing.
    if not all(map(proof, carriers)):
        raise RuntimeError("a request that was timed had other facts than its token's")


async def asgi_app(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


class AsgiNoOp:
    """Only calls the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class AsgiSide:
    """Calls ASGI apps in the runner's loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def ask(self, app: ASGIApp, request: Request, look: Look) -> Seen:
        scope = scope_of(request)
        seen: list[Seen] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts = (look(), scope.get(TOKEN), scope["state"].get(STATE_ATTRIBUTE))
                seen.append(Seen(message["status"], facts))

        async def call() -> None:
            await app(scope, _receive, send)

        self._runner.run(call())
        return seen[0]

    def serve(self, app: ASGIApp, requests: Sequence[Request], proof: Proof) -> float:
        scopes = [scope_of(request) for request in requests]
        seconds = self._runner.run(_timed(app, scopes))
        _check(scopes, proof)
        return seconds


async def _timed(app: ASGIApp, scopes: Iterable[Scope]) -> float:
    started = perf_counter()
    for scope in scopes:
        await app(scope, _receive, _send)
    return perf_counter() - started


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Message) -> None:
    pass


def wsgi_app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "12")])
    return [_BODY]


class WsgiNoOp:
    """Only calls the app."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._app(environ, start_response)


class WsgiSide:
    """Calls WSGI apps in this thread."""

    def ask(self, app: WSGIApplication, request: Request, look: Look) -> Seen:
        environ = environ_of(request)
        seen: list[Seen] = []

        def start_response(
            status: str, _headers: list[tuple[str, str]], _exc_info: Any = None
        ) -> Callable[[bytes], object]:
            seen.append(Seen(int(status[:3]), (look(), environ.get(TOKEN))))
            return _write

        for _ in app(environ, start_response):
            pass
        return seen[0]

    def serve(self, app: WSGIApplication, requests: Sequence[Request], proof: Proof) -> float:
        environs = [environ_of(request) for request in requests]
        started = perf_counter()
        for environ in environs:
            for _ in app(environ, _start_response):
                pass
        seconds = perf_counter() - started
        _check(environs, proof)
        return seconds


def _start_response(
    _status: str, _headers: list[tuple[str, str]], _exc_info: Any = None
) -> Callable[[bytes], object]:
    return _write


def _write(_data: bytes) -> None:
    pass
