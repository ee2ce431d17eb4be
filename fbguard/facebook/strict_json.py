"""JSON of Facebook's, read so that it has one meaning only. Pure."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn, cast


class Unreadable(Exception):  # noqa: N818 - never leaves the readers
    """What was sent is not what the reference says; never shown to anybody."""


def read_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises :class:`Unreadable`, ValueError or RecursionError: for what is none, for a name that stands twice,
    and for NaN and Infinity, which are no JSON.
    """
    return as_object(_DECODER.decode(text.decode()))


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object that was read already."""
    if not isinstance(value, dict):
        raise Unreadable
    return cast("dict[str, Any]", value)


def integer(value: object) -> int | None:
    """Return a JSON integer; None for what is none, ``true`` included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise Unreadable  # Python keeps the last of two, others the first
    return result


def _refuse(_constant: str) -> NoReturn:
    raise Unreadable  # NaN <= now is never true


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse)
