"""Facebook's ``signed_request``, read strictly: what it posts to two of its callbacks. Pure.

``base64url(signature) "." base64url(JSON)``; the signature is the HMAC-SHA256 of the encoded payload, as
text, by the app secret (Facebook Login, "Data Deletion Request Callback").
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, cast

from fbguard.core.secret import Secret

MAX_LENGTH: Final = 8192  # characters; with a code and a token in it, it has about a thousand
MAX_AGE: Final = 600  # seconds
MAX_AHEAD: Final = 60  # seconds that Facebook's clock may be ahead of ours

_ALGORITHM: Final = "HMAC-SHA256"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_USER_ID: Final = re.compile(r"[0-9]{1,32}", re.ASCII)
_CREDENTIALS: Final = frozenset({"access_token", "code", "oauth_token"})  # members that open the account


class BadSignedRequest(Exception):  # noqa: N818 - it is the request that is bad
    """Not to be honoured. The text is our own and holds nothing of the request."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What Facebook said, proven by the app secret.

    ``issued_at`` is in Unix seconds. ``payload`` is the whole JSON object; a token or a code in it is
    a :class:`Secret`.
    """

    user_id: str
    issued_at: int
    payload: Mapping[str, Any] = field(repr=False)


def is_signed(secrets: Sequence[Secret], message: bytes, signature: bytes) -> bool:
    """Tell whether one of the app secrets made this HMAC-SHA256; takes as long for every answer.

    Raises ValueError without a secret, or with a blank one: anybody can sign with that.
    """
    if not secrets or not all(secret.reveal() for secret in secrets):
        raise ValueError("an app secret is needed to check a signature")
    proofs = [hmac.digest(secret.reveal().encode(), message, "sha256") for secret in secrets]
    return any([hmac.compare_digest(proof, signature) for proof in proofs])  # noqa: C419 - all are compared


def read(signed: str, secrets: Sequence[Secret], now: float) -> SignedRequest:
    """Return what a signed_request says; raise BadSignedRequest for one that is not to be honoured.

    ``secrets`` are the app secrets, while they rotate several; ``now`` is Unix seconds. Nothing of the
    payload is looked at before its signature has proven to be Facebook's.
    """
    if len(signed) > MAX_LENGTH:
        raise BadSignedRequest("it is too long")
    first, dot, second = signed.partition(".")
    if not dot:
        raise BadSignedRequest("it has no two segments")
    signature, payload = _decoded(first), _decoded(second)
    if not is_signed(secrets, second.encode(), signature):
        raise BadSignedRequest("its signature is not by this app's secret")
    return _said(_object(payload), now)


def _decoded(segment: str) -> bytes:
    """Decode base64url, padded or not, in its one spelling.

    Python's decoder drops what is not in the alphabet and bits that are left over: two texts, one value.
    """
    bare = segment.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if not _SEGMENT.fullmatch(bare) or len(bare) % 4 == 1 or segment not in {bare, padded}:
        raise BadSignedRequest("a segment is not base64url")
    decoded = base64.urlsafe_b64decode(padded)
    if base64.urlsafe_b64encode(decoded) != padded.encode():
        raise BadSignedRequest("a segment is not base64url")
    return decoded


def _object(payload: bytes) -> dict[str, Any]:
    try:
        decoded: object = json.loads(payload.decode(), object_pairs_hook=_pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise BadSignedRequest("its payload is not a plain JSON object")
    return cast("dict[str, Any]", decoded)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = {
        key: Secret(value) if key in _CREDENTIALS and isinstance(value, str) else value
        for key, value in pairs
    }
    if len(result) < len(pairs):
        raise ValueError("one key twice")  # Python keeps the last, others the first
    return result


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _said(payload: dict[str, Any], now: float) -> SignedRequest:
    if payload.get("algorithm") != _ALGORITHM:
        raise BadSignedRequest("its algorithm is not HMAC-SHA256")
    issued_at = payload.get("issued_at")
    if not isinstance(issued_at, int) or isinstance(issued_at, bool) or issued_at < 0:
        raise BadSignedRequest("its issued_at is not whole seconds")
    if issued_at < now - MAX_AGE:
        raise BadSignedRequest("it is too old")
    if issued_at > now + MAX_AHEAD:
        raise BadSignedRequest("it is ahead of our clock")
    user_id = payload.get("user_id")
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        user_id = str(user_id)  # of older apps
    if not isinstance(user_id, str) or not _USER_ID.fullmatch(user_id):
        raise BadSignedRequest("its user_id is no Facebook id")
    return SignedRequest(user_id, issued_at, payload)
