"""What doors put around the server's ``send`` or ``start_response``, besides an Outgoing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fbguard.connections import OUTGOING, Message, Outgoing, Scope, Send
from fbguard.context import door_of
from fbguard.core import preflight
from fbguard.core.carrier import Carrier, carrier_of_request
from fbguard.core.sources import TokenSources
from fbguard.guard import Guard
from fbguard.heads import EnvironHead, ScopeHead
from fbguard.marks import are_covered, mark
from fbguard.refusals import encoded, text_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


_MARKED: Final = frozenset({"http.response.start", "websocket.accept"})


def closing_first(send: Send, close: Callable[[], Awaitable[None]]) -> Send:
    """Return a ``send`` of the lifespan that closes the loop's client before it says that the app is down.

    A server ends the loop when it hears that (uvicorn), and would cut a later close short.
    """

    async def closing(message: Message) -> None:
        if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await close()
        await send(message)

    return closing


def marking(scope: Scope, send: Send, sources: TokenSources) -> Send:
    """Return a ``send`` that tells shared caches what the answer depends on, and on whom."""
    asked: Scope | None = scope

    async def marked(message: Message) -> None:
        nonlocal asked
        if asked is not None and message["type"] in _MARKED:
            message = _marked(message, asked, sources)
            asked = None  # a copy of a scope has the Outgoing that may hold this: no circle
        await send(message)

    return marked


def _marked(message: Message, scope: Scope, sources: TokenSources) -> Message:
    if message["type"] == "http.response.start":
        pairs = [(text_of(name), text_of(value)) for name, value in message.get("headers", ())]
        return {**message, "headers": encoded(mark(pairs, sources, scope, ScopeHead(scope)))}
    if message.get("subprotocol"):
        return message
    return {**message, "subprotocol": sources.answered_subprotocol(ScopeHead(scope))}


def marking_start(
    environ: WSGIEnvironment, start_response: StartResponse, sources: TokenSources
) -> StartResponse:
    """Do so for a ``start_response``."""

    def marked(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        return start_response(status, mark(headers, sources, environ, EnvironHead(environ)), exc_info)

    return marked


def have_marked(carrier: Carrier, guard: Guard) -> bool:
    """Have the answer of a view whose guard reads more than a header marked; False where nobody can."""
    sources, door = guard.sources, door_of(carrier)
    is_socket = sources.websocket and carrier.get("type") == "websocket"
    if not sources.need_marks and not is_socket:
        return True
    is_answered = not is_socket or (door is not None and door.sources.websocket)
    if is_answered and are_covered(sources, carrier) and carrier_of_request.get() is carrier:
        return True  # by a door, which looks at this very carrier: not at a copy
    outgoing: Outgoing | None = carrier.get(OUTGOING)
    if outgoing is None:
        return False
    # Once, however many views there are. Until an answer begins, the mark keeps the carrier alive.
    mark_of_this = (id(carrier), sources)
    if mark_of_this not in outgoing.marks:
        outgoing.marks |= {mark_of_this}
        outgoing.server = marking(carrier, outgoing.server, sources)
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
