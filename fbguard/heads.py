"""What the rules read of a request, in either protocol. Imports no framework."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import quote, unquote

from fbguard.core.answers import Answer
from fbguard.core.carrier import Carrier, is_asgi
from fbguard.core.credentials import MAX_LENGTH
from fbguard.core.errors import Refused
from fbguard.entrance import Head
from fbguard.login.places import is_of_this_site

_LOG: Final = logging.getLogger("fbguard")

UNDECODABLE: Final = "\ufffd"  # which no policy takes for a plain path
_AS_SENT: Final = "%/:@!$&'()*+,;="  # what may stand in a path (RFC 3986 section 3.3) and in an escape


def head_of(carrier: Carrier) -> Head:
    """Return what the rules read of a request, from ASGI's scope or WSGI's environ."""
    return ScopeHead(carrier) if is_asgi(carrier) else EnvironHead(carrier)


def answered(refused: Refused, carrier: Carrier, *, path: str | None = None) -> Answer:
    """Return a refusal as its request wants it; a page leads back to where the browser was, if it can.

    ``path`` is the whole of it, decoded, where the framework knows better than the carrier.
    """
    head = head_of(carrier)
    return refused.answer(
        accept=", ".join(head.header("accept")),
        language=", ".join(head.header("accept-language")),
        method="GET" if head.is_websocket else head.method,
        # No local variable: a path may hold what is to be in no traceback.
        back=_seen(
            refused,
            _way_back(head, _paths_of(carrier) if path is None else (quote(path, errors="replace"),)),
        ),
    )


def _seen(refused: Refused, back: str | None) -> str | None:
    """Look whether somebody asks in vain for the login itself; return the path."""
    if back is not None and refused.is_at_login(back):
        _tell_of_guarded_login(unquote(back))
    return back


@cache
def _tell_of_guarded_login(login: str) -> None:
    """Tell, once, of a login that only those reach who are logged in."""
    _LOG.warning(
        "the login is behind its own guard: a policy wants Rule(%r, public=True), and others for "
        "its callback and log-out",
        login,
    )


def _way_back(head: Head, paths: Iterable[str]) -> str | None:
    """Return the first path that a browser can have asked for by GET; a query may hold a token."""
    if head.method not in {"GET", "HEAD"} or head.is_websocket:
        return None
    return next(filter(is_of_this_site, paths), None)


def _paths_of(carrier: Carrier) -> Iterator[str]:
    """Give what may be the path that a browser knows, percent-encoded, the best first.

    In ASGI that is the raw one, which no rule reads: frameworks cut what is mounted off the other.
    """
    if is_asgi(carrier):
        root: str = carrier.get("root_path", "").rstrip("/")
        raw: bytes | None = carrier.get("raw_path")
        if raw is not None:
            yield _below(root, quote(raw.partition(b"?")[0], safe=_AS_SENT))
        yield _below(root, quote(carrier["path"], errors="replace"))
    else:
        yield quote(EnvironHead(carrier).whole_path)


def _below(root: str, path: str) -> str:
    """Return a percent-encoded path with the root in front, where a server has left that out."""
    decoded = unquote(path)
    has_root = decoded.startswith(root) and decoded[len(root) : len(root) + 1] in {"", "/"}
    return path if has_root else f"{quote(root)}{path}"


def bearer_in_scope(scope: Mapping[str, Any]) -> bytes | None:
    """Return what may be a token that is known: all of the one header after ``Bearer`` and a space.

    None for what takes a longer look (:func:`fbguard.core.credentials.from_authorization`). Nothing screens
    the token: one that is known was screened when it came first.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if type(headers) is not list:
        return None
    sent: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if sent is not None:
                return None
            sent = value
    if sent is None:
        return None
    given = sent.removeprefix(b"Bearer ")
    return None if given == sent or len(given) > MAX_LENGTH else given


def bearer_in_environ(environ: Mapping[str, Any]) -> str | None:
    """Do so for WSGI, whose servers join repeated headers by commas; no token has one."""
    sent: str | None = environ.get("HTTP_AUTHORIZATION")
    if sent is None:
        return None
    given = sent.removeprefix("Bearer ")
    return None if given == sent or len(given) > MAX_LENGTH or not given.isascii() else given


class ScopeHead:
    """Reads an ASGI scope."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope

    @property
    def path(self) -> str:
        """``scope["path"]`` less ``root_path`` at a segment boundary, which is what frameworks route on."""
        path: str = self._scope["path"]
        root: str = self._scope.get("root_path", "")  # as it stands: Starlette does not trim it either
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
            return path[len(root) :]
        return path

    @property
    def method(self) -> str:
        method: str = self._scope.get("method", "GET")
        return method

    @property
    def is_websocket(self) -> bool:
        kind: str = self._scope["type"]
        return kind == "websocket"

    @property
    def query(self) -> str:
        return _text(self._scope.get("query_string", b""))

    @property
    def client(self) -> str | None:
        peer: Sequence[Any] | None = self._scope.get("client")
        return None if not peer else str(peer[0])

    @property
    def subprotocols(self) -> Sequence[str]:
        return self._scope.get("subprotocols") or ()

    def header(self, name: str) -> list[str]:
        key = name.encode()
        return [_text(value) for header, value in self._scope["headers"] if header == key]


class WholeHead(ScopeHead):
    """Reads a scope as Falcon does, which routes on the whole path, whatever the ``root_path``."""

    __slots__ = ()

    @property
    def path(self) -> str:
        """``scope["path"]``."""
        path: str = self._scope["path"]
        return path


class CutHead(ScopeHead):
    """Reads a scope as Litestar and Quart do, which cut the ``root_path`` off also where no segment ends.

    Litestar even where it stands in the middle. Such a path is none that can be read in one way.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """The path below ``root_path``; with U+FFFD where the framework would read another one."""
        path: str = self._scope["path"]
        root: str = self._scope.get("root_path", "").rstrip("/")
        if path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
            return path[len(root) :]
        return UNDECODABLE if root in path else path


class EnvironHead:
    """Reads a WSGI environ (PEP 3333)."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    @property
    def path(self) -> str:
        """The path below SCRIPT_NAME; PATH_INFO holds its bytes as latin-1 (PEP 3333)."""
        return _decoded(self._environ.get("PATH_INFO", ""))

    @property
    def whole_path(self) -> str:
        """The path with SCRIPT_NAME before it."""
        return _decoded(self._environ.get("SCRIPT_NAME", "")) + self.path

    @property
    def method(self) -> str:
        method: str = self._environ["REQUEST_METHOD"]
        return method

    @property
    def is_websocket(self) -> bool:
        return False

    @property
    def query(self) -> str:
        query: str = self._environ.get("QUERY_STRING", "")
        return query

    @property
    def client(self) -> str | None:
        peer: str | None = self._environ.get("REMOTE_ADDR")
        return peer or None

    @property
    def subprotocols(self) -> Sequence[str]:
        return ()

    def header(self, name: str) -> Sequence[str]:
        value = self._environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        return () if value is None else (value,)


def _decoded(path: str) -> str:
    if path.isascii():
        return path
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return UNDECODABLE


def _text(value: bytes) -> str:
    return value.decode("latin-1")
