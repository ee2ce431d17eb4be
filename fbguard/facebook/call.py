"""The token that a call of Graph names among its parameters, whatever client makes the call. Pure.

Graph takes ``access_token`` from the query and from the fields of a body: a form, a multipart form, JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from fbguard.core.secret import Secret

_PARAMETER: Final = "access_token"
_FIELDS: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "application/json")
# What stands for the token of a body that has fields and cannot be read: it is like no other.
UNREADABLE: Final = Secret("")


def named_by(request: Any) -> Secret | None:
    """Return the token among the parameters of a request of httpx or requests, None if there is none.

    :data:`UNREADABLE` if the body may name one: a stream that only sending reads, JSON that is none.
    """
    found = _in_query(urlsplit(str(request.url)).query)
    if found is not None:
        return found
    kind = _text(request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return _in_body(request, kind) if kind in _FIELDS else None


def _in_body(request: Any, kind: str) -> Secret | None:
    fields: Iterable[Any] | None = getattr(getattr(request, "stream", None), "fields", None)
    if fields is not None:  # a multipart form of httpx, whose files nobody reads for this
        named = [field for field in fields if getattr(field, "name", None) == _PARAMETER]
        return _secret(getattr(named[0], "value", UNREADABLE)) if named else None
    try:
        body: object = request.body if hasattr(request, "body") else request.content
    except RuntimeError:  # not read: of httpx, and of clients like it
        return UNREADABLE
    if body is None:
        return None
    if not isinstance(body, str | bytes):
        return UNREADABLE
    return _in_text(_text(body), kind)


def _in_text(text: str, kind: str) -> Secret | None:
    if kind == "application/json":
        try:
            decoded: object = json.loads(text)
        except (ValueError, RecursionError):
            return UNREADABLE if text.strip() else None
        return (
            _secret(cast("Mapping[str, object]", decoded).get(_PARAMETER))
            if isinstance(decoded, dict)
            else None
        )
    if kind == "multipart/form-data":
        return UNREADABLE if f'name="{_PARAMETER}"' in text else None
    return _in_query(text)


def _in_query(text: str) -> Secret | None:
    return _secret(next(iter(parse_qs(text).get(_PARAMETER, ())), None))


def _secret(value: object) -> Secret | None:
    """Return what a parameter names; empty, it names nothing."""
    if value is UNREADABLE:
        return UNREADABLE
    if not isinstance(value, str | bytes | int) or not value:
        return None
    named = Secret(_text(value) if isinstance(value, str | bytes) else str(value))
    try:
        named.reveal().encode()
    except UnicodeEncodeError:  # half a character of JSON is in no token
        return UNREADABLE
    return named


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
