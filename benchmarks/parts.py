"""The parts of a hit that no guard can do without, and nothing else: what a floor could sink to.

One header among fifteen, a SHA-256 digest, one look into a dict, two clocks, the scopes, the facts put into
the request and a context variable. **It guards nobody:** it takes the last of two headers, asks for no scheme
and reads paths in any spelling. So what is faster than this does not do what a guard does.
"""

from __future__ import annotations

from contextvars import ContextVar
from hashlib import sha256
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.requests import PATH
from fbguard import TokenInfo
from fbguard.context import STATE_ATTRIBUTE, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from fbguard.asgi import ASGIApp, Receive, Scope, Send

part_of_request: ContextVar[TokenInfo | None] = ContextVar("part_of_request", default=None)
_set, _reset = part_of_request.set, part_of_request.reset

_AFTER_SCHEME: Final = len("Bearer ")
_Entries = dict[bytes, tuple[float, float, TokenInfo, frozenset[str]]]
_Rules = dict[tuple[str, str], frozenset[str]]


def entries_of(token: str, info: TokenInfo, seconds: float) -> _Entries:
    """Return what is known: until when, by either clock (seconds), and the facts."""
    return {sha256(token.encode()).digest(): (time() + seconds, monotonic() + seconds, info, info.scopes)}


def rules_of(*scopes: str) -> _Rules:
    """Return the one rule, for the path that is measured."""
    return {("GET", PATH): frozenset(scopes)}


class AsgiParts:
    """The parts around an ASGI app."""

    def __init__(self, app: ASGIApp, entries: _Entries, rules: _Rules) -> None:
        self._app, self._entries, self._rules = app, entries, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scopes = self._rules[scope["method"], scope["path"]]
        sent = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                sent = value
        entry = self._entries.get(sha256(sent[_AFTER_SCHEME:]).digest())
        if entry is None or time() >= entry[0] or monotonic() >= entry[1] or not scopes <= entry[3]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        scope[TOKEN] = scope["state"][STATE_ATTRIBUTE] = info = entry[2]
        before = _set(info)
        try:
            await self._app(scope, receive, send)
        finally:
            _reset(before)


class WsgiParts:
    """The parts around a WSGI app."""

    def __init__(self, app: WSGIApplication, entries: _Entries, rules: _Rules) -> None:
        self._app, self._entries, self._rules = app, entries, rules

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        scopes = self._rules[environ["REQUEST_METHOD"], environ["PATH_INFO"]]
        sent: Any = environ.get("HTTP_AUTHORIZATION", "")
        entry = self._entries.get(sha256(sent[_AFTER_SCHEME:].encode()).digest())
        if entry is None or time() >= entry[0] or monotonic() >= entry[1] or not scopes <= entry[3]:
            start_response("401 Unauthorized", [])
            return []
        environ[TOKEN] = info = entry[2]
        before = _set(info)
        try:
            return self._app(environ, start_response)
        finally:
            _reset(before)
