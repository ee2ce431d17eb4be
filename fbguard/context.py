"""What doors leave in a request, under keys that no header can set, and how code finds it again."""

from __future__ import annotations

from typing import Final, Literal, overload

from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard
from fbguard.heads import head_of
from fbguard.marks import marks_of

TOKEN: Final = "fbguard.token"  # noqa: S105 - TokenInfo or None
LEFT: Final = "fbguard.left"  # Left
FORGOTTEN: Final = "fbguard.forgotten"  # the facts that were dropped because Graph told a view so
STATE_ATTRIBUTE: Final = "fb_token"  # Starlette's request.state.fb_token

#: What doors and views leave beside the facts, in one tuple because a hit pays for each key and each object:
#: the door's guard (None: there is no door), the guard that has judged the facts, what the door has judged
#: them by, what views have judged them by besides, and the facts' token.
Left = tuple[Guard | None, Guard | None, Demands, Demands, Secret | None]
_NOTHING: Final[Left] = (None, None, (), (), None)


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


def left_in(carrier: Carrier) -> Left:
    """Return what doors and views have left in a request beside the facts."""
    left: Left = carrier.get(LEFT, _NOTHING)
    return left


def door_of(carrier: Carrier) -> Guard | None:
    """Return the guard of the door that a request came by, None if there was none."""
    return left_in(carrier)[0]


def judge_of(carrier: Carrier) -> Guard | None:
    """Return the guard that has judged a request's facts, None if none has looked."""
    return left_in(carrier)[1]


def demands_of(carrier: Carrier) -> Demands:
    """Return what a request's door has judged the facts by."""
    return left_in(carrier)[2]


def asked_of(carrier: Carrier) -> Demands:
    """Return what views have judged a request's facts by, besides."""
    return left_in(carrier)[3]


def credential_of(carrier: Carrier) -> Secret | None:
    """Return the token of a request's facts."""
    return left_in(carrier)[4]


def inject(
    carrier: Carrier,
    guard: Guard,
    info: TokenInfo | None,
    demands: Demands = (),
    token: Secret | None = None,
) -> None:
    """Be a door: put its guard, the facts, their token and what they were judged by into a request."""
    _put(carrier, info, (guard, guard, demands, (), None if info is None else token))


def inject_facts(carrier: Carrier, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
    """Put facts, the guard that has judged them and their token into a request; None: nobody has looked."""
    _put(carrier, info, (door_of(carrier), guard, (), (), None if info is None else token))


def _put(carrier: Carrier, info: TokenInfo | None, left: Left) -> None:
    _, judge, _, _, token = left
    if token is not None and judge is not None and judge.sources.need_marks:
        marks_of(carrier).note(judge.sources, head_of(carrier), token)
    carrier[TOKEN] = info
    carrier[LEFT] = left
    if is_asgi(carrier):
        carrier.setdefault("state", {})[STATE_ATTRIBUTE] = info


def with_demands(asked: Demands, more: Demands) -> Demands:
    """Add to what views have judged by: a view of a WebSocket may be judged again for each message."""
    return asked if all(demand in asked for demand in more) else (*asked, *more)


def note_judged_by(carrier: Carrier, demands: Demands, asked: Demands) -> None:
    """Note what a request's facts have been judged by: by its door, and by views besides."""
    door, judge, _, _, token = left_in(carrier)
    carrier[LEFT] = (door, judge, demands, asked, token)
