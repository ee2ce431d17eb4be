"""What a browser says to a login: parameters of the query, and of the form that logs out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs

from fbguard.core.secret import Secret
from fbguard.core.served import FORM, MAX_FIELDS, Request

_LONGEST: Final = 4096  # characters of all scopes
_SCOPE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3, no comma


class Given:
    """Parameters by name, None for one that is not there; nothing of them is shown."""

    def __init__(self, values: Mapping[str, Secret]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str | None:
        value = self._values.get(name)
        return None if value is None else value.reveal()


def given_in(request: Request, *names: str) -> Given | None:
    """Return parameters of the query and of a form, without empty ones.

    None if one stands twice, or if there are too many.
    """
    with suppress(ValueError):
        found = parse_qs(_fields(request), max_num_fields=MAX_FIELDS)
        if all(len(found.get(name, ())) <= 1 for name in names):
            return Given({name: Secret(found[name][0]) for name in names if name in found})
    return None


def _fields(request: Request) -> str:
    is_form = request.media_types == [FORM]
    return f"{request.query}&{request.body.decode('latin-1')}" if is_form else request.query


def scopes_in(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a ``scope``, between which commas or spaces stand; None if they are none."""
    names = tuple(name for name in re.split(r"[ ,]+", text or "") if name)
    fits = len(text or "") <= _LONGEST and all(map(_SCOPE.fullmatch, names))
    return names if fits else None
