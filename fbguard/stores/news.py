"""What workers tell each other, as data. Pure; sealed and opened by :mod:`fbguard.stores.codec`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from fbguard.revocation.tombstones import Tombstone

What = Literal["token", "user", "forget", "forget_user", "doubt"]

_WHATS: Final = frozenset(get_args(What))
_BY_KEY: Final = frozenset({"token", "forget"})
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_WHYS: Final = ("session_invalidated", "not_authorized")


class News(NamedTuple):
    """What another worker did: ``name`` is a token's key in hex, or a user id.

    ``doubt``: the store lacked something for a while, and each fact must be asked for once more.
    """

    what: What
    name: str
    stone: Tombstone | None


def written(said: News) -> dict[str, object]:
    """Return news as JSON data."""
    stone = None if said.stone is None else written_stone(said.stone)
    return {"what": said.what, "name": said.name, "stone": stone}


def read(value: Mapping[str, Any]) -> News | None:
    """Return the news that :func:`written` data holds; None for what this version did not write."""
    what, name, stone = value.get("what"), value.get("name"), value.get("stone")
    if what not in _WHATS or not isinstance(name, str) or (what in _BY_KEY and not _KEY.fullmatch(name)):
        return None
    return News(
        cast("What", what),
        name,
        read_stone(cast("dict[str, Any]", stone)) if isinstance(stone, dict) else None,
    )


def written_stone(stone: Tombstone) -> dict[str, object]:
    """Return a tombstone as JSON data."""
    return {"why": stone.why, "until": stone.until, "at": stone.at, "heard": stone.heard}


def read_stone(value: Mapping[str, Any]) -> Tombstone | None:
    """Return the tombstone of :func:`written_stone`'s data; None for what this version did not write."""
    why, times = value.get("why"), [value.get(name) for name in ("until", "at", "heard")]
    numbers = [one for one in times if isinstance(one, int | float)]
    return Tombstone(why, *numbers) if why in _WHYS and len(numbers) == len(times) else None
