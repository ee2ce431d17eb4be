"""Checks of what users hand to the sandbox.

Each takes the option's name first and returns the value in the form that the state keeps. A wrong
type is a TypeError, a wrong value a ValueError; both name the option and neither repeats the value,
which may be a token or a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import cast

GranularScopes = tuple[tuple[str, tuple[str, ...] | None], ...]

_YEAR = 365 * 86_400
_TYPES = frozenset({"USER", "PAGE", "SYSTEM_USER", "APP"})
_DIGITS = re.compile(r"[0-9]{1,32}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # scope-token of RFC 6749, section 3.3
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token of RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def text(name: str, value: object) -> str:
    """Return a str that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def digits(name: str, value: object) -> str:
    """Return an id as Graph writes it: a str of 1 to 32 decimal digits."""
    checked = text(name, value)
    if not _DIGITS.fullmatch(checked):
        raise ValueError(f"{name} must be 1 to 32 decimal digits")
    return checked


def secret(name: str, value: object) -> str:
    """Return an app secret: no white space, and no ``|``, which separates it from the app id."""
    checked = text(name, value)
    if any(character.isspace() or character == "|" for character in checked):
        raise ValueError(f"{name} must hold neither white space nor '|'")
    return checked


def number(name: str, value: object, least: float, most: float) -> float:
    """Return a finite number between ``least`` and ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)


def integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number of at least ``least`` and at most ``most``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least or (most is not None and value > most):
        raise ValueError(
            f"{name} must be at least {least}" + ("" if most is None else f" and at most {most}")
        )
    return value


def check_type(kind: str, user_id: object, profile_id: object, granular_scopes: object) -> None:
    """Refuse a type that Facebook does not have, and what does not go with it."""
    if text("type", kind) not in _TYPES:
        raise ValueError(f"type must be one of {', '.join(sorted(_TYPES))}")
    if kind != "PAGE" and profile_id is not None:
        raise ValueError("profile_id belongs to type PAGE")
    if kind == "APP" and (user_id is not None or granular_scopes is not None):
        raise ValueError("type APP takes neither user_id nor granular_scopes")


def moment(name: str, seconds: object, now: float) -> int:
    """Return the unix second that lies ``seconds`` from ``now``; 0, for never, from None and 0."""
    if seconds is None:
        return 0
    checked = number(name, seconds, -10 * _YEAR, 100 * _YEAR)
    return int(now + checked) if checked else 0


def members(name: str, value: object) -> dict[str, object]:
    """Return the members of a JSON object; none of None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    return {text(name, key): item for key, item in cast("Mapping[object, object]", value).items()}


def flag(name: str, value: object) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def texts(name: str, value: object) -> tuple[str, ...]:
    """Return an iterable of str as a tuple; a bare str is refused, its letters are never meant."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of str, not {type(value).__name__}")
    return tuple(text(f"{name}: each element", element) for element in cast("Iterable[object]", value))


def scope_names(name: str, value: object) -> tuple[str, ...]:
    """Return permission names; each must be a scope-token of RFC 6749."""
    names = texts(name, value)
    if not all(_SCOPE.fullmatch(scope) for scope in names):
        raise ValueError(f"{name}: a scope holds printable ASCII without space, quote or backslash")
    return names


def granular(name: str, value: object) -> GranularScopes | None:
    """Return granular scopes from a mapping (scope to ids or None) or from Graph's list form.

    None stays None: the token then carries no ``granular_scopes`` at all. A scope whose ids are
    None covers every target; one with an empty list covers none.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        pairs = list(cast("Mapping[object, object]", value).items())
    elif isinstance(value, list | tuple):
        pairs = [_entry(name, entry) for entry in cast("Iterable[object]", value)]
    else:
        raise TypeError(f"{name} must be a mapping or a list, not {type(value).__name__}")
    scopes = scope_names(name, [scope for scope, _ in pairs])
    targets = [None if ids is None else texts(f"{name}: target ids", ids) for _, ids in pairs]
    return tuple(zip(scopes, targets, strict=True))


def _entry(name: str, entry: object) -> tuple[object, object]:
    if not isinstance(entry, Mapping):
        raise TypeError(f"{name}: each element must be an object, not {type(entry).__name__}")
    known = cast("Mapping[object, object]", entry)
    if "scope" not in known or not set(known) <= {"scope", "target_ids"}:
        raise ValueError(f"{name}: each element holds 'scope' and perhaps 'target_ids', nothing else")
    return known["scope"], known.get("target_ids")


def header_fields(name: str, value: object) -> tuple[tuple[str, str], ...]:
    """Return HTTP header fields from a mapping of str to str, or none from None."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    fields: list[tuple[str, str]] = []
    for field, content in cast("Mapping[object, object]", value).items():
        if not isinstance(field, str) or not isinstance(content, str):
            raise TypeError(f"{name} must map str to str")
        if not _HEADER_NAME.fullmatch(field) or not _HEADER_VALUE.fullmatch(content):
            raise ValueError(f"{name} holds a field that HTTP does not allow")
        fields.append((field, content))
    return tuple(fields)


def octets(name: str, value: object) -> bytes:
    """Return a body: bytes as they are, a str in UTF-8."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes or str, not {type(value).__name__}")
    return value
