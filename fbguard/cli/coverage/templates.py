"""The path templates of frameworks, as segments: literal ones, and None for those that vary. Pure."""

from __future__ import annotations

import re
from typing import Final

Segments = tuple[str | None, ...]  # of a path: literal ones, and None for those that vary
Template = tuple[Segments, bool]  # and whether any number may follow

_BRACES: Final = re.compile(r"\{[^{}:]*:?(?P<converter>[^{}]*)\}")
_ANGLES: Final = re.compile(r"<(?:(?P<converter>[^<>:(]*)(?:\([^<>]*\))?:)?[^<>:]*>")
#: Converters of Starlette, werkzeug and Django that match one segment at most. Nobody knows what others do.
_SHORT: Final = frozenset({"", "any", "float", "int", "slug", "str", "string", "uuid"})
_VARIES, _MANY = "\0", "\1"


def of_braces(path: str) -> Template:
    """Read ``/pages/{page_id:int}``, as Starlette writes it."""
    return _read(path, _BRACES)


def of_angles(path: str) -> Template:
    """Read ``/pages/<int:page_id>``, as Flask and Django write it."""
    return _read(path, _ANGLES)


def _mark(parameter: re.Match[str]) -> str:
    return _VARIES if (parameter["converter"] or "") in _SHORT else _MANY


def _read(path: str, parameter: re.Pattern[str]) -> Template:
    segments: list[str | None] = []
    for segment in filter(None, parameter.sub(_mark, path).split("/")):
        if _MANY in segment:
            return tuple(segments), True  # what may follow it is among what may follow
        segments.append(None if _VARIES in segment else segment)
    return tuple(segments), False
