"""Copies of a request with another token: what an app asks of itself is a request of its own."""

from __future__ import annotations

from fbguard.claims import LIVE
from fbguard.context import LEFT, TOKEN, door_of
from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.guard import Guard
from fbguard.heads import head_of


def is_asked_by(around: Carrier | None, carrier: Carrier, guard: Guard) -> bool:
    """Tell a request that the app asks of itself: a copy of the one around, with another token."""
    if around is None or around is carrier:
        return False
    token = guard.sources.find(head_of(carrier))
    return token is not None and token != guard.sources.find(head_of(around))


def disown(carrier: Carrier) -> None:
    """Forget what a copy has brought along of another request; the door's guard is still around it."""
    _have_own_state(carrier)
    carrier[TOKEN], carrier[LEFT] = None, (door_of(carrier), None, (), (), None)
    carrier.pop(LIVE, None)


def part(scope: Carrier, guard: Guard) -> None:
    """Before a door judges a copy with another token, or none: keep its facts out of the state around it.

    What is live around it stays: it may be the same request, whose token some middleware has exchanged.
    """
    around = carrier_of_request.get()
    if around is None or around is scope:
        return
    if not isinstance(scope["headers"], list | tuple):
        scope["headers"] = list(scope["headers"])  # any iterable may be, and it is read more than once
    if guard.sources.find(head_of(scope)) != guard.sources.find(head_of(around)):
        _have_own_state(scope)


def _have_own_state(carrier: Carrier) -> None:
    if is_asgi(carrier) and "state" in carrier:
        carrier["state"] = {**carrier["state"]}  # the copy of a scope shares it with the original
