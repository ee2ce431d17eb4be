"""The floor: the least a guard can do on a hit and still keep every promise.

Written by hand for one kind of policy (literal paths, scopes, public routes), with one token cache
that is filled by hand and nothing behind it: what is not cached is refused. No miss, no hints, no
decorator, no streamed WSGI body; whatever is measured above this floor pays for those, or is waste.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fbguard import Policy, Requirement, Rule, TokenInfo
from fbguard.asgi import ASGIApp, Receive, Scope, Send
from fbguard.context import STATE_ATTRIBUTE, TOKEN

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

facts_of_request: ContextVar[TokenInfo | None] = ContextVar("facts_of_request", default=None)
_set_facts, _reset_facts = facts_of_request.set, facts_of_request.reset

_MAX_LENGTH: Final = 4096
_B64TOKEN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/-"
_NOT_PLAIN: Final = re.compile(r"//|/\.{1,2}(?:/|\Z)|[;\\\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]|\A[^/]")
_UNDECODABLE: Final = "\ufffd"
_VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REASONS: Final = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """Why a request does not go in: a status and the challenge's ``error``, if it has one."""

    def __init__(self, status: int, error: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.challenge = 'Bearer realm="floor"' + (f', error="{error}"' if error else "")


@dataclass(frozen=True, slots=True)
class _Entry:
    info: TokenInfo
    wall_less_monotonic: float
    end: float  # wall time, in seconds


@dataclass(frozen=True, slots=True)
class _Asked:
    scopes: frozenset[str]
    public: bool = False


class Judge:
    """What both doors of the floor share: the cached facts and the rules as two dictionaries.

    ``time`` and ``monotonic`` are the two clocks, ``ttl`` is seconds. Raises ValueError for a policy
    that asks for more than scopes on literal paths.
    """

    def __init__(
        self,
        app_id: str,
        policy: Policy,
        *,
        ttl: float = 300.0,
        time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id = app_id
        self._ttl = ttl
        self._time = time
        self._monotonic = monotonic
        self._entries: dict[bytes, _Entry] = {}
        self._default = _Asked(_scopes(policy.default))
        self._by_verb: dict[tuple[str, str], _Asked] = {}
        self._by_path: dict[str, _Asked] = {}  # for verbs that no rule of the path lists
        for rule in policy.rules:
            self._learn(rule)

    def _learn(self, rule: Rule) -> None:
        if rule.parameters:
            raise ValueError(f"the floor knows literal paths only, not {rule.path!r}")
        asked = _Asked(_scopes(rule.requirement), rule.public)
        path = rule.path.rstrip("/")
        for spelling in (path, f"{path}/"):  # one trailing slash makes no difference
            for verb in filter(rule.lists, _VERBS):
                self._by_verb.setdefault((verb, spelling), asked)  # the first rule judges
            if not rule.public:
                others = self._by_path.get(spelling, self._default).scopes
                self._by_path[spelling] = _Asked(others | asked.scopes)

    def remember(self, token: str, info: TokenInfo) -> None:
        """Cache a token's facts for the ttl, and not beyond the token's own end."""
        now = self._time()
        end = min(now + self._ttl, info.expires or float("inf"))
        self._entries[sha256(token.encode()).digest()] = _Entry(info, now - self._monotonic(), end)

    def judge(self, method: str, path: str, authorization: bytes | None) -> TokenInfo | None:
        """Return the facts, or None on a public route; raises Refusal."""
        asked = self._by_verb.get((method, path)) or self._asked_elsewhere(path)
        if asked.public:
            return None
        entry = None
        if authorization is not None:
            given = authorization.removeprefix(b"Bearer ")
            if given != authorization and len(given) <= _MAX_LENGTH:
                entry = self._entries.get(sha256(given).digest())  # screened when it was stored
        entry = entry or self._entry_of(authorization)
        # Named first: to call an attribute that is no method is slow.
        time, monotonic = self._time, self._monotonic
        now = time()
        by_monotonic = entry.wall_less_monotonic + monotonic()
        if by_monotonic > now:  # noqa: PLR1730 - max() costs as much as the clock
            now = by_monotonic  # the stricter of the two is believed
        info = entry.info
        if now >= entry.end or not info.is_valid or info.app_id != self._app_id or info.type != "USER":
            raise Refusal(401, "invalid_token")
        if asked.scopes:
            if 0 < info.data_access_expires <= now:
                raise Refusal(401, "invalid_token")
            if not asked.scopes <= info.scopes:
                raise Refusal(403, "insufficient_scope")
        return info

    def _asked_elsewhere(self, path: str) -> _Asked:
        if not _is_plain(path):  # one that a rule names is
            raise Refusal(400, "invalid_request")
        return self._by_path.get(path, self._default)

    def _entry_of(self, authorization: bytes | None) -> _Entry:
        entry = self._entries.get(_key(authorization))
        if entry is None:
            raise Refusal(401, "invalid_token")
        return entry


class AsgiFloor:
    """The floor around an ASGI app; ``http`` only."""

    def __init__(self, app: ASGIApp, judge: Judge) -> None:
        self._app = app
        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError("the floor guards http only")
        authorization: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                # Joined as a proxy would do it (RFC 9110 section 5.3): no token has a comma.
                authorization = value if authorization is None else authorization + b"," + value
        path = scope["path"]
        root = scope.get("root_path")
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
            path = path[len(root) :]
        try:
            info = self._judge.judge(scope["method"], path, authorization)
        except Refusal as refusal:
            await _refuse(refusal, send)
            return
        scope[TOKEN] = info
        scope.setdefault("state", {})[STATE_ATTRIBUTE] = info
        app = self._app
        previous = _set_facts(info)
        try:
            await app(scope, receive, send)
        finally:
            _reset_facts(previous)


class WsgiFloor:
    """The floor around a WSGI app that returns lists."""

    def __init__(self, app: WSGIApplication, judge: Judge) -> None:
        self._app = app
        self._judge = judge

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        if not path.isascii():
            path = _decoded(path)
        sent = environ.get("HTTP_AUTHORIZATION")
        authorization = None if sent is None else sent.encode("latin-1")
        try:
            info = self._judge.judge(environ["REQUEST_METHOD"], path, authorization)
        except Refusal as refusal:
            start_response(
                f"{refusal.status} {_REASONS[refusal.status]}", [("WWW-Authenticate", refusal.challenge)]
            )
            return []
        environ[TOKEN] = info
        app = self._app
        previous = _set_facts(info)
        try:
            body = app(environ, start_response)
        finally:
            _reset_facts(previous)
        if not isinstance(body, list):
            raise TypeError("the floor serves lists only: code of another body would not see its request")
        return body


def _key(authorization: bytes | None) -> bytes:
    if authorization is None:
        raise Refusal(401)
    scheme, _, token = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() == b"bearer" and len(token) <= _MAX_LENGTH:
        letters = token.rstrip(b"=")
        # translate() takes half the time of a regular expression here.
        if letters and not letters.translate(None, _B64TOKEN):
            return sha256(token).digest()
    if b"," in authorization:
        raise Refusal(400, "invalid_request")
    raise Refusal(401, "invalid_token" if scheme.lower() in {b"bearer", b""} else None)


def _is_plain(path: str) -> bool:
    # Most paths show it by this, in a third of the time that the regular expression takes.
    is_simple = path.startswith("/") and path.isascii() and path.isprintable()
    if is_simple and not ("//" in path or "/." in path or ";" in path or "\\" in path):
        return True
    return _NOT_PLAIN.search(path) is None


def _scopes(requirement: Requirement) -> frozenset[str]:
    if requirement != Requirement(scopes=requirement.scopes):
        raise ValueError("the floor judges scopes only")
    return frozenset(requirement.scopes)


def _decoded(path: str) -> str:
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return _UNDECODABLE


async def _refuse(refusal: Refusal, send: Send) -> None:
    headers = [(b"www-authenticate", refusal.challenge.encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
