"""Apps of fbguard's own in either protocol, to be mounted: callbacks, the login. Imports no framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

from fbguard.core import background
from fbguard.core.answers import Answer
from fbguard.core.served import Request, finished, header_pairs, plain, unavailable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_POLICY_VIOLATION: Final = 1008  # close code, RFC 6455 section 7.4.1
_GRACE: Final = 1.0  # seconds that a thread waits for the loop beyond the deadline, which answers itself
_LONGEST_LENGTH: Final = 18  # digits of a Content-Length
_UNDECODABLE: Final = "/\ufffd"  # no route


class _Gone(Exception):  # noqa: N818
    """The client left before its body was here."""


class Rules(Protocol):
    """What is mounted, in no protocol's words."""

    deadline: float
    """Seconds that :meth:`answer` takes at most."""

    def admit(self, request: Request) -> Answer | int:
        """Return how many bytes of body to read at most, before it is read; or the answer that refuses it."""
        ...

    async def answer(self, request: Request) -> Answer:
        """Have the effect of a request and say so."""
        ...


class MountedASGI:
    """Rules as an ASGI app; mount it, or serve it alone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a WebSocket is refused."""
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        elif kind == "lifespan":
            await _live(receive, send)
        else:
            raise RuntimeError(f"fbguard does not know the scope type {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request_of_scope(scope)
        admitted = self._rules.admit(request)
        if isinstance(admitted, Answer):
            answer = admitted
        else:
            try:
                body = await _received(receive, admitted)
            except _Gone:
                return
            answer = await self._rules.answer(replace(request, body=body))
        await send(_start(answer))
        sent = b"" if request.method == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": sent})


class MountedWSGI:
    """Rules as a WSGI app; the effects run on the background loop of the process."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        answer = self._answer(environ)
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, header_pairs(answer))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        request = _request_of_environ(environ)
        admitted = self._rules.admit(request)
        if isinstance(admitted, Answer):
            return admitted
        body = _read(environ, admitted)
        if body is None:
            return finished(plain(400, "The body did not come whole."))
        with suppress(background.NoLoop):
            future = background.submit(self._rules.answer(replace(request, body=body)))
            try:
                return future.result(self._rules.deadline + _GRACE)
            except (TimeoutError, CancelledError):
                future.cancel()
        return finished(unavailable())


def _start(answer: Answer) -> Message:
    """Return the message that begins an answer; no frame of ours keeps what its cookies hold."""
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in header_pairs(answer)
        ],
    }


def _request_of_scope(scope: Scope) -> Request:
    root: str = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        path = path[len(root) :]  # of a mount by the ASGI specification; older ones have cut it off
    return Request(
        method=scope["method"],
        path=_trimmed(path),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=[
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ],
        scheme=scope.get("scheme", "http"),
        root=root,
        client=_peer(scope.get("client")),
    )


def _trimmed(path: str) -> str:
    """Drop one slash at the end: Litestar's mounts add it."""
    return path.removesuffix("/") if len(path) > 1 else path


def _peer(client: Sequence[Any] | None) -> str | None:
    return str(client[0]) if client else None


async def _received(receive: Receive, cap: int) -> bytes:
    """Return a body, of one above the cap one byte more than that; raises _Gone."""
    body = bytearray()
    more = cap > 0
    while more and len(body) <= cap:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")[: cap + 1 - len(body)]
        more = message.get("more_body", False)
    return bytes(body)


async def _live(receive: Receive, send: Send) -> None:
    """Say that there is nothing to start and nothing to shut down."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _request_of_environ(environ: WSGIEnvironment) -> Request:
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower(), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value)
    ]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_trimmed(_decoded(environ.get("PATH_INFO", ""))),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        scheme=environ["wsgi.url_scheme"],
        root=_decoded(environ.get("SCRIPT_NAME", "")),
        client=environ.get("REMOTE_ADDR") or None,
    )


def _decoded(path: str) -> str:
    """Decode a path whose bytes came as latin-1 (PEP 3333)."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return _UNDECODABLE


class _Input(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _read(environ: WSGIEnvironment, cap: int) -> bytes | None:
    """Return a body, of one above the cap one byte more than that; None if it is not whole."""
    if not cap:
        return b""
    length: str = environ.get("CONTENT_LENGTH") or ""
    if length:
        if not (length.isascii() and length.isdigit() and len(length) <= _LONGEST_LENGTH):
            return None
        wanted = min(int(length), cap + 1)
    elif environ.get("wsgi.input_terminated"):  # the server reads chunks, and tells where they end
        wanted = cap + 1
    else:
        return None if "HTTP_TRANSFER_ENCODING" in environ else b""
    try:
        body = _read_up_to(environ["wsgi.input"], wanted)
    except OSError:  # the client left
        return None
    return body if not length or len(body) == wanted else None


def _read_up_to(stream: _Input, wanted: int) -> bytes:
    body = bytearray()
    while len(body) < wanted:
        chunk = stream.read(wanted - len(body))
        if not chunk:
            break
        body += chunk
    return bytes(body)
