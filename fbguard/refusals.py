"""A refusal as an ASGI app, and how frameworks that keep a table of exception handlers learn of it.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from fbguard.connections import OUTGOING, Outgoing, Receive, Scope, Send
from fbguard.core.errors import OAuthException, Refused
from fbguard.entrance import teach_known
from fbguard.heads import answered
from fbguard.reports import refusal_of

_POLICY_VIOLATION: Final = 1008  # close code, RFC 6455 section 7.4.1


class RefusalResponse:
    """A refusal as an ASGI app, which every ASGI framework takes for a response.

    A WebSocket is refused before it is accepted, with the HTTP denial response where the server has
    that extension, else with its 403; ``accepted`` tells that it is open and must be closed (1008).
    """

    def __init__(self, refused: Refused, *, accepted: bool = False) -> None:
        self._refused = refused
        self._accepted = accepted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        if scope["type"] == "http":
            await self._respond(scope, send, "http.response")
        elif not self._accepted and "websocket.http.response" in (scope.get("extensions") or {}):
            await self._respond(scope, send, "websocket.http.response")
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": self._refused.reason})

    async def _respond(self, scope: Scope, send: Send, prefix: str) -> None:
        answer = answered(self._refused, scope)
        headers = encoded(answer.headers)
        await send({"type": f"{prefix}.start", "status": answer.status, "headers": headers})
        body = b"" if scope.get("method") == "HEAD" else answer.body
        await send({"type": f"{prefix}.body", "body": body})


def teach_routed(scope: Scope) -> None:
    """Tell the Starlette app that serves this scope what a Refused and an OAuthException are.

    For a decorated view whose door could not see the app, because something stood in between.
    """
    handlers: object = scope.get("starlette.exception_handlers")
    if isinstance(handlers, tuple):
        _add_to(cast("tuple[object, ...]", handlers)[0])


def teach(app: object) -> str | None:
    """Tell an app that keeps a table of exception handlers what ours are, unless it has some for them.

    Returns the framework's name, if it is one with ways of its own (:func:`teach_known`).
    """
    framework = teach_known(app)
    if framework is None:
        _add_to(getattr(app, "exception_handlers", None))
    return framework


def _add_to(handlers: object) -> None:
    if isinstance(handlers, dict):
        table = cast("dict[object, object]", handlers)
        table.setdefault(Refused, handle_refusal)
        table.setdefault(OAuthException, handle_graph_error)
        table.setdefault(ExceptionGroup, handle_graph_error)  # of a TaskGroup in a view


async def handle_graph_error(connection: object, error: Exception) -> RefusalResponse | None:
    """Be an exception handler of Starlette or FastAPI."""
    refused = refusal_of(cast("Scope", getattr(connection, "scope", {})), error)
    if refused is None:
        raise error
    return await handle_refusal(connection, refused)


async def handle_refusal(connection: object, refused: Refused) -> RefusalResponse | None:
    """Be an exception handler of Starlette or FastAPI."""
    # An endpoint may have accepted by a WebSocket object of its own: then only its `send` knows.
    state = getattr(getattr(connection, "application_state", None), "name", "")
    outgoing = cast("Outgoing | None", getattr(connection, "scope", {}).get(OUTGOING))
    if state == "DISCONNECTED" or (outgoing is not None and outgoing.closed):
        return None
    accepted = state == "CONNECTED" or (outgoing is not None and outgoing.started)
    return RefusalResponse(refused, accepted=accepted)


def encoded(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def text_of(value: bytes) -> str:
    """Return a header's name or value as text."""
    return value.decode("latin-1")
