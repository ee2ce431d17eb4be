"""Graph's batch call with debug_token in it: what is sent and what comes back. Pure.

Source: Graph API, "Batch requests". That debug_token may be called so is not documented either way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlencode

from fbguard.core.reasons import TRANSIENT_CODES, Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import debug_token

MAX_ITEMS: Final = 50
_OK = 200
_SERVER_ERROR = 500
_MAX_ITEM: Final = 64 * 1024  # characters, as of a single reply
# An item of the ``batch`` array, as it stands in a form: what comes before its token, and behind it.
_BEFORE, _BEHIND = (
    quote_plus(part)
    for part in json.dumps(
        {"method": "GET", "relative_url": "debug_token?input_token=|"}, separators=(",", ":")
    ).split("|")
)


def written(credential: Secret, tokens: Sequence[Secret]) -> Secret:
    """Return the form that asks about each token: the credential and a JSON array of debug_token calls.

    What is the same in all items is written once and for all: to encode a whole form costs more than all
    else that is done for it. A token is a URL's part, which JSON takes as it is, and the URL is the form's.
    """
    return Secret(
        urlencode({"access_token": credential.reveal(), "include_headers": "false"})
        + "&batch=%5B"
        + "%2C".join(f"{_BEFORE}{quote_plus(quote_plus(token.reveal()))}{_BEHIND}" for token in tokens)
        + "%5D"
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
