"""What doors leave in a request, under keys that no header can set, and how code finds it again."""

from __future__ import annotations

from typing import Final, Literal, overload

from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard

TOKEN: Final = "fbguard.token"  # noqa: S105 - TokenInfo or None
DOOR: Final = "fbguard.door"  # the door's Guard
GUARD: Final = "fbguard.guard"  # the Guard that has judged the facts
DEMANDS: Final = "fbguard.demands"  # what the door has judged them by
STATE_ATTRIBUTE: Final = "fb_token"  # Starlette's request.state.fb_token


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


def inject(carrier: Carrier, guard: Guard, info: TokenInfo | None, demands: Demands = ()) -> None:
    """Be a door: put its guard, the facts and what they were judged by into a request."""
    carrier[DOOR] = guard
    inject_facts(carrier, guard, info)
    carrier[DEMANDS] = demands


def inject_facts(carrier: Carrier, guard: Guard, info: TokenInfo | None) -> None:
    """Put facts and the guard that has judged them into a request; None: nothing was looked at."""
    carrier[GUARD] = guard
    carrier[TOKEN] = info
    carrier[DEMANDS] = ()
    if is_asgi(carrier):
        carrier.setdefault("state", {})[STATE_ATTRIBUTE] = info
