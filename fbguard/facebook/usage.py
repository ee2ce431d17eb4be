"""What Graph's usage headers say about waiting. Pure.

JSON in ``X-Business-Use-Case-Usage`` (regain time in minutes) and ``X-Ad-Account-Usage`` (seconds);
``X-App-Usage`` and ``X-Page-Usage`` name percentages only. Source: Graph API, "Rate Limits".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

_APP: Final = "x-app-usage"
_BUSINESS: Final = "x-business-use-case-usage"
_ACCOUNT: Final = "x-ad-account-usage"
_USED_UP: Final = 100  # percent
_PER_MINUTE: Final = 60
_SHARES: Final = ("call_count", "total_time", "total_cputime")  # in percent, all three, as the next
_ACCOUNT_SHARE: Final = "acc_id_util_pct"
_MOST: Final = 86_400  # seconds; whatever the header says, tomorrow is another day


class Usage(NamedTuple):
    """How much of Graph's limit is used, in percent, and the seconds until it serves again, if it says."""

    percent: float = 0.0
    seconds: int | None = None


_NOTHING_SAID: Final = Usage()  # nearly always


def usage_of(header: Callable[[str], str | None]) -> Usage:
    """Return what the headers of a reply say about the app's use of Graph."""
    app, business, account = (_read(header(name)) for name in (_APP, _BUSINESS, _ACCOUNT))
    if not (app or business or account):
        return _NOTHING_SAID
    entries = [app, *_entries(business)]
    shares = [_number(entry.get(name)) for entry in entries for name in _SHARES]
    shares.append(_number(account.get(_ACCOUNT_SHARE)))
    return Usage(max(shares), seconds_to_wait(header))


def seconds_to_wait(header: Callable[[str], str | None]) -> int | None:
    """Return the seconds until calls are served again, None if the headers do not say.

    ``header`` returns the value of a header by its name in lower case.
    """
    waits = [
        *_business(_read(header(_BUSINESS))),
        *_account(_read(header(_ACCOUNT))),
    ]
    return min(max(waits), _MOST) if waits else None


def _read(value: str | None) -> dict[str, Any]:
    if not value:
        return {}  # nearly always
    try:
        found: object = json.loads(value)
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
    if _number(usage.get(_ACCOUNT_SHARE)) >= _USED_UP and (
        seconds := _number(usage.get("reset_time_duration"))
    ):
        yield seconds


def _number(value: object) -> int:
    """Return a positive number, at most a sane one; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, _MOST * _USED_UP))
