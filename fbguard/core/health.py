"""What ``guard.health()`` says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the shared store is, seen from this process.

    ``status`` is "ok"; "unheard" while its news do not come, so that each token is asked for there; or
    "away" while it is not asked. ``failed`` is the number of questions to it that brought nothing,
    ``unreadable`` that of values and news in it that no guard with a secret of this one's wrote, both since
    the start. ``listeners`` is the number of guards, this one too, that were listening when the last session
    was ended here; None if none was, or the store cannot tell.
    """

    status: Literal["ok", "unheard", "away"]
    failed: int
    unreadable: int
    listeners: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How a guard is, for a readiness route. Cached tokens are served whatever it says.

    ``status`` is "ok", or "degraded" from a look-up that was a don't-know to the next that is answered;
    then ``reason`` is its reason (``throttled``, ``unavailable`` or ``misconfigured``), and ``since`` the
    moment (UTC) at which that began. ``in_flight`` is the number of slots for Graph calls in use, ``cached``
    that of the facts kept; ``store`` is the shared store's, None without one.
    """

    status: Literal["ok", "degraded"]
    reason: str | None
    since: datetime | None
    in_flight: int
    cached: int
    store: StoreHealth | None = None
