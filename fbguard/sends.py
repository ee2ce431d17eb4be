"""What an ASGI door puts around the server's ``send``, besides :class:`fbguard.connections.Outgoing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fbguard.connections import Message, Scope, Send
from fbguard.core import preflight
from fbguard.core.sources import TokenSources
from fbguard.entrance import is_private, mark
from fbguard.heads import ScopeHead
from fbguard.refusals import encoded, text_of


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

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            pairs = [(text_of(name), text_of(value)) for name, value in message.get("headers", ())]
            pairs = mark(pairs, sources, private=is_private(scope, ScopeHead(scope)))
            message = {**message, "headers": encoded(pairs)}
        elif message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": sources.answered_subprotocol(ScopeHead(scope))}
        await send(message)

    return marked


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
