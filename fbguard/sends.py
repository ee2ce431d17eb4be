"""What doors put around the server's ``send`` or ``start_response``, besides an Outgoing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fbguard.connections import OUTGOING, Message, Outgoing, Send
from fbguard.core import preflight
from fbguard.core.carrier import Carrier
from fbguard.guard import Guard
from fbguard.heads import ScopeHead
from fbguard.marks import MARKS, Marks, marks_of
from fbguard.refusals import encoded, text_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


def closing_first(send: Send, close: Callable[[], Awaitable[None]]) -> Send:
    """Return a ``send`` of the lifespan that closes the loop's client before it says that the app is down.

    A server ends the loop when it hears that (uvicorn), and would cut a later close short.
    """

    async def closing(message: Message) -> None:
        if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await close()
        await send(message)

    return closing


def _marking(marks: Marks, send: Send) -> Send:
    """Return a ``send`` that tells shared caches what the answer depends on, and on whom."""

    def marked(message: Message) -> Awaitable[None]:
        # Not async: its frame would hold the answer while that is sent, and a cookie of it may hold a token.
        if message["type"] == "http.response.start":
            return send({**message, "headers": encoded(marks.on(_pairs(message)))})
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            return send({**message, "subprotocol": marks.subprotocol})
        return send(message)

    return marked


def _pairs(message: Message) -> list[tuple[str, str]]:
    return [(text_of(name), text_of(value)) for name, value in message.get("headers", ())]


def marking_start(marks: Marks, start_response: StartResponse) -> StartResponse:
    """Return a ``start_response`` that does so."""
    marks.is_applied = True

    def marked(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        return start_response(status, marks.on(headers), exc_info)

    return marked


def have_marked(carrier: Carrier, guard: Guard) -> bool:
    """Have the answer of a view whose guard reads more than a header marked; False where nobody can."""
    sources = guard.sources
    is_socket = sources.websocket and carrier.get("type") == "websocket"
    if not sources.need_marks and not is_socket:
        return True
    outgoing: Outgoing | None = carrier.get(OUTGOING)
    if outgoing is None:
        return marks_of(carrier).is_applied
    if outgoing.started:
        return True  # that answer is out; nothing of this one is
    if outgoing.marks is None:
        outgoing.marks = marks_of(carrier)
        outgoing.server = _marking(outgoing.marks, outgoing.server)
    carrier[MARKS] = marks = outgoing.marks  # middleware may have made a copy before there were any
    marks.depend_on(sources)
    if is_socket:
        marks.subprotocol = marks.subprotocol or sources.answered_subprotocol(ScopeHead(carrier))
    return True


class OnlyThePermission:
    """Lets of what answers a CORS preflight only its permission out, and nothing of any other answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_started = False
        self.is_out = False

    async def send(self, message: Message) -> None:
        """Send."""
        if message["type"] != "http.response.start" or self._is_started:
            return
        self._is_started = True
        self.is_out = preflight.is_answered(message["status"])
        if self.is_out:
            headers = [pair for pair in message.get("headers", ()) if preflight.is_kept(text_of(pair[0]))]
            await self._send({"type": "http.response.start", "status": preflight.STATUS, "headers": headers})
            await self._send({"type": "http.response.body", "body": b""})
