"""Graph's batch call with debug_token in it: what is sent and what comes back. Pure.

Source: Graph API, "Batch requests". That debug_token may be called so is not documented either way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import urlencode

from fbguard.core.reasons import TRANSIENT_CODES, Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import debug_token

MAX_ITEMS: Final = 50
_OK = 200
_SERVER_ERROR = 500
_MAX_ITEM: Final = 64 * 1024  # characters, as of a single reply


def written(tokens: Sequence[Secret]) -> Secret:
    """Return the ``batch`` parameter: a JSON array with a call of debug_token for each token."""
    return Secret(
        json.dumps(
            [
                {
                    "method": "GET",
                    "relative_url": "debug_token?" + urlencode({"input_token": token.reveal()}),
                }
                for token in tokens
            ]
        )
    )


def read(
    status: int, body: bytes, fingerprints: Sequence[str]
) -> Sequence[TokenInfo | Finding | None] | Finding | None:
    """Read the reply: what was said about each token (None: nothing), in the order they were sent.

    A Finding is about Graph instead: it throttles, or is out of order. None means that it did not do
    what was asked, for whatever reason: who waits asks alone.
    """
    try:
        reply: object = json.loads(body)
    except (ValueError, RecursionError):
        return debug_token.UNAVAILABLE if status >= _SERVER_ERROR else None
    if status == _OK and isinstance(reply, list):
        items = cast("list[object]", reply)
        if len(items) == len(fingerprints):
            return [_item(item, mark) for item, mark in zip(items, fingerprints, strict=True)]
        return None
    outcome = debug_token.read(status, body, "")
    if isinstance(outcome, Finding) and (
        outcome.reason == "throttled"
        or outcome.code in TRANSIENT_CODES
        or _is_transient(reply)
        or status >= _SERVER_ERROR
    ):
        return outcome
    return None


def _is_transient(reply: object) -> bool:
    error: object = cast("dict[str, object]", reply).get("error") if isinstance(reply, dict) else None
    return isinstance(error, dict) and cast("dict[str, object]", error).get("is_transient") is True


def _item(item: object, fingerprint: str) -> TokenInfo | Finding | None:
    """Read one item; null is one that was not finished in time."""
    if item is None:
        return None
    fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    code, body = fields.get("code"), fields.get("body")
    if type(code) is not int or not isinstance(body, str) or len(body) > _MAX_ITEM:
        return debug_token.UNAVAILABLE
    return debug_token.read(code, body.encode(errors="replace"), fingerprint)
