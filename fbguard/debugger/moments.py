"""Moments as people and programs read them: a date, and how far it is from now."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
# Up to this many seconds a distance is told in that unit: "in 45 minutes", but "in 3 days".
_UNITS: Final = (
    (2 * _MINUTE, 1, "second"),
    (2 * _HOUR, _MINUTE, "minute"),
    (2 * _DAY, _HOUR, "hour"),
    (730 * _DAY, _DAY, "day"),
)
_YEAR: Final = 365.25 * _DAY


def date(moment: datetime) -> str:
    """Return a moment (UTC) as ``2026-11-21 05:17:36 UTC``."""
    # Not strftime: its years below 1000 have fewer digits.
    return f"{moment.isoformat(sep=' ').partition('+')[0]} UTC"


def iso(moment: datetime | None) -> str | None:
    """Return a moment (UTC) as programs read it, ``2026-11-21T05:17:36Z``; None for none."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def distance(moment: datetime, now: float) -> str:
    """Return how far a moment is from ``now`` (seconds): ``in 12 days``, ``3 hours ago``, ``now``.

    Only whole units count, so nothing is told to be farther than it is.
    """
    seconds = int(moment.timestamp() - now)
    if not seconds:
        return "now"
    far = abs(seconds)
    unit, name = next(((unit, name) for limit, unit, name in _UNITS if far < limit), (_YEAR, "year"))
    count = int(far // unit)
    words = f"{count} {name}{'' if count == 1 else 's'}"
    return f"in {words}" if seconds > 0 else f"{words} ago"
