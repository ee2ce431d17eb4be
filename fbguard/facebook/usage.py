"""What Graph's usage headers say about waiting. Pure.

JSON in ``X-Business-Use-Case-Usage`` (regain time in minutes) and ``X-Ad-Account-Usage`` (seconds);
``X-App-Usage`` and ``X-Page-Usage`` name percentages only. Source: Graph API, "Rate Limits".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

_USED_UP: Final = 100  # percent
_PER_MINUTE: Final = 60
_MOST: Final = 86_400  # seconds; whatever the header says, tomorrow is another day


def seconds_to_wait(header: Callable[[str], str | None]) -> int | None:
    """Return the seconds until calls are served again, None if the headers do not say.

    ``header`` returns the value of a header by its name in lower case.
    """
    waits = [
        *_business(_read(header("x-business-use-case-usage"))),
        *_account(_read(header("x-ad-account-usage"))),
    ]
    return min(max(waits), _MOST) if waits else None


def _read(value: str | None) -> dict[str, Any]:
    try:
        found: object = json.loads(value or "{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _entries(usage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entries in usage.values():
        for entry in cast("list[object]", entries) if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield cast("dict[str, Any]", entry)


def _business(usage: dict[str, Any]) -> Iterator[int]:
    for entry in _entries(usage):
        if minutes := _number(entry.get("estimated_time_to_regain_access")):
            yield minutes * _PER_MINUTE


def _account(usage: dict[str, Any]) -> Iterator[int]:
    if _number(usage.get("acc_id_util_pct")) >= _USED_UP and (
        seconds := _number(usage.get("reset_time_duration"))
    ):
        yield seconds


def _number(value: object) -> int:
    """Return a sane positive number, 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST * _USED_UP:
        return 0
    return int(value)
