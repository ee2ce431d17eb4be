"""The errors of Graph calls that a view makes, in every shape Graph has sent. Pure.

Read with patience, unlike debug_token's replies: nobody gets in by what is read here, and what is
missing must not hide the rest. Shapes: ``{"error": {...}}``, the legacy top level ``error_code`` and
``error_msg``, a bare ``{"code": ..., "message": ...}``, an item of a batch reply, the login dialog's
``{"error": "...", "error_description": "..."}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from fbguard.core.errors import OAuthException
from fbguard.core.secret import Secret
from fbguard.facebook.usage import seconds_to_wait

_FAILED: Final = 400  # and above: HTTP statuses of errors
_BROKEN: Final = 500
_NO_CODE: Final = -1  # what the SDKs put where there is none
# What must not be in a message: Graph quotes tokens ("Malformed access token ...").
_TOKEN_LIKE: Final = re.compile(
    r"(?<=access token )['\"]?[\w|.~+/-]{16,}=*|EA[A-Za-z0-9]{20,}|(?<![0-9])[0-9]{5,32}\|[\w-]{8,}"
)
_HIDDEN: Final = "***"


def read_error(
    body: object,
    *,
    status: int | None = None,
    header: Callable[[str], str | None] | None = None,
    token: Secret | None = None,
    fingerprint: str | None = None,
) -> OAuthException | None:
    """Return the error that a decoded body states, None for a success.

    ``status`` is the HTTP status if it is known; ``header`` returns a header by its name in lower case;
    ``token`` is the token of the call, which is hidden where Graph quotes it; ``fingerprint`` goes into
    the exception as it is.
    """
    if status is None and _is_batch_item(body):
        item = cast("Mapping[str, Any]", body)
        return read_error(
            _decoded(item["body"]),
            status=_integer(item["code"]) or 0,
            header=_headers_of_item(item.get("headers")),
            token=token,
            fingerprint=fingerprint,
        )
    fields = _error_fields(body, status)
    if fields is None:
        return None
    wait = seconds_to_wait(header) if header is not None else None
    return _exception(fields, token, wait, fingerprint)


def _is_batch_item(body: object) -> bool:
    return isinstance(body, Mapping) and {"code", "body"} <= cast("Mapping[str, Any]", body).keys()


def _decoded(text: object) -> object:
    """Decode the body of a batch item, which is JSON in a string."""
    if not isinstance(text, str | bytes):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _headers_of_item(headers: object) -> Callable[[str], str | None]:
    found: dict[str, str] = {}
    for entry in cast("list[object]", headers) if isinstance(headers, list) else ():
        if isinstance(entry, Mapping):
            pair = cast("Mapping[str, object]", entry)
            found[_text(pair.get("name")).lower()] = _text(pair.get("value"))
    return found.get


def _error_fields(body: object, status: int | None) -> Mapping[str, Any] | None:
    """Return the fields of the error in today's names, None where the body states none."""
    reply: Mapping[str, Any] = cast("Mapping[str, Any]", body) if isinstance(body, Mapping) else {}
    error = reply.get("error")
    if isinstance(error, Mapping):
        return cast("Mapping[str, Any]", error)
    if error:  # RFC 6749 section 5.2, which the login endpoints use
        return {"message": reply.get("error_description") or error, "type": error}
    if _integer(reply.get("error_code")) or reply.get("error_msg"):
        legacy = {
            "code": reply.get("error_code"),
            "message": reply.get("error_msg"),
            "type": "OAuthException",
        }
        return {**reply, **legacy}
    if _is_bare(reply, status) and _has_failed(reply, status):
        return reply
    if status is None or status < _FAILED:
        return None
    said = f"Graph answered HTTP {status} without an error"
    return {"message": said, "type": "", "is_transient": status >= _BROKEN}


def _is_bare(reply: Mapping[str, Any], status: int | None) -> bool:
    """Tell whether the fields of an error stand at the top; a code alone, only if a status says the rest."""
    return isinstance(reply.get("message"), str) or (
        status is not None and _integer(reply.get("code")) is not None
    )


def _has_failed(reply: Mapping[str, Any], status: int | None) -> bool:
    """Tell a bare error from an answer with a message of its own."""
    return status >= _FAILED if status is not None else _integer(reply.get("code")) is not None


def _exception(
    fields: Mapping[str, Any], token: Secret | None, wait: int | None, fingerprint: str | None
) -> OAuthException:
    return OAuthException(
        _shown(fields.get("message"), token),
        type=_shown(fields.get("type"), token),
        code=_number(fields.get("code")),
        subcode=_number(fields.get("error_subcode")) or _number(fields.get("subcode")),
        user_title=_shown(fields.get("error_user_title"), token) or None,
        user_message=_shown(fields.get("error_user_msg"), token) or None,
        error_data=_error_data(fields.get("error_data"), token),
        is_transient=fields.get("is_transient") is True,
        fbtrace_id=_shown(fields.get("fbtrace_id"), token) or None,
        retry_after=wait,
        token_fingerprint=fingerprint,
    )


def _shown(value: object, token: Secret | None) -> str:
    """Return a text of Graph's without tokens; empty for what is no text."""
    text = _text(value)
    if token is not None and token.reveal():
        text = text.replace(token.reveal(), _HIDDEN)
    return _TOKEN_LIKE.sub(_HIDDEN, text)


def _error_data(value: object, token: Secret | None) -> Mapping[str, Any] | str | None:
    """Return ``error_data``, which Graph sends as an object or as JSON in a string."""
    decoded = _decoded(value)
    if not isinstance(decoded, Mapping):
        return _shown(value, token) or None
    try:
        return cast("Mapping[str, Any]", _cleaned(cast("object", decoded), token))
    except RecursionError:  # nested deeper than anybody reads
        return None


def _cleaned(value: object, token: Secret | None) -> object:
    """Return a decoded value without tokens in any of its texts, keys too."""
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        return {_shown(str(key), token): _cleaned(item, token) for key, item in fields.items()}
    if isinstance(value, list):
        return [_cleaned(item, token) for item in cast("list[object]", value)]
    return _shown(value, token) if isinstance(value, str) else value


def _number(value: object) -> int | None:
    found = _integer(value)
    return None if found == _NO_CODE else found


def _integer(value: object) -> int | None:
    """Return a number, also one in a string or as 190.0; some proxies and old bodies have it so."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
