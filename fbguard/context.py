"""What doors leave in a request, under keys that no header can set, and how code finds it again."""

from __future__ import annotations

from typing import Final, Literal, overload

from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard

TOKEN: Final = "fbguard.token"  # noqa: S105 - TokenInfo or None
DOOR: Final = "fbguard.door"  # the door's Guard
GUARD: Final = "fbguard.guard"  # the Guard that has judged the facts
CREDENTIAL: Final = "fbguard.credential"  # the facts' token as a Secret, or None
FORGOTTEN: Final = "fbguard.forgotten"  # the facts that were dropped because Graph told a view so
ASKED: Final = "fbguard.asked"  # what views have judged the facts by, besides
DEMANDS: Final = "fbguard.demands"  # what the door has judged them by
LEFT: Final = (TOKEN, DOOR, GUARD, CREDENTIAL, ASKED, DEMANDS)  # what a door leaves
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


def inject(
    carrier: Carrier,
    guard: Guard,
    info: TokenInfo | None,
    demands: Demands = (),
    token: Secret | None = None,
) -> None:
    """Be a door: put its guard, the facts, their token and what they were judged by into a request."""
    carrier[DOOR] = carrier[GUARD] = guard
    carrier[TOKEN] = info
    carrier[CREDENTIAL] = None if info is None else token
    carrier[DEMANDS] = demands
    carrier[ASKED] = ()
    if is_asgi(carrier):
        carrier.setdefault("state", {})[STATE_ATTRIBUTE] = info


def inject_facts(carrier: Carrier, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
    """Put facts, the guard that has judged them and their token into a request; None: nobody has looked."""
    carrier[GUARD] = guard
    carrier[TOKEN] = info
    carrier[CREDENTIAL] = None if info is None else token
    carrier[DEMANDS] = carrier[ASKED] = ()
    if is_asgi(carrier):
        carrier.setdefault("state", {})[STATE_ATTRIBUTE] = info
