"""What doors leave in a request, and how code finds it again.

The context variable holds the protocol's own carrier (ASGI's scope, WSGI's environ): the facts lie in
it, under keys that no header can set, and no other object is made per request.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final, Literal, overload

from fbguard.core.token import TokenInfo
from fbguard.guard import Guard

Carrier = MutableMapping[str, Any]

TOKEN: Final = "fbguard.token"  # noqa: S105 - TokenInfo or None
GUARD: Final = "fbguard.guard"  # the door's Guard
STATE_ATTRIBUTE: Final = "fb_token"  # Starlette's request.state.fb_token

carrier_of_request: ContextVar[Carrier | None] = ContextVar("fbguard.request", default=None)


@overload
def current_token(*, required: Literal[True]) -> TokenInfo: ...
@overload
def current_token(*, required: bool = False) -> TokenInfo | None: ...
def current_token(*, required: bool = False) -> TokenInfo | None:
    """Return the facts of the request's token; None when it is anonymous or nothing was looked at.

    With ``required=True`` a RuntimeError names the cause instead of None.
    """
    carrier = carrier_of_request.get()
    info: TokenInfo | None = None if carrier is None else carrier.get(TOKEN)
    if info is None and required:
        raise RuntimeError(
            "no fbguard door is around this code, or it runs in a thread of its own"
            if carrier is None
            else "nobody looked at a token: a public route, an anonymous request, or no requirement"
        )
    return info


def is_asgi(carrier: Carrier) -> bool:
    """Tell a scope from an environ, which always has a REQUEST_METHOD (PEP 3333)."""
    return "REQUEST_METHOD" not in carrier


def inject(carrier: Carrier, guard: Guard, info: TokenInfo | None) -> None:
    """Put a door's guard and the facts into the request; None where nothing was looked at."""
    carrier[GUARD] = guard
    carrier[TOKEN] = info
    if is_asgi(carrier):
        carrier.setdefault("state", {})[STATE_ATTRIBUTE] = info
