"""ID tokens of Limited Login and the keys that they are signed with, read strictly. Pure.

Sources: Facebook Login, "Limited Login Token" and "Validating the Limited Login Token"; JWS (RFC 7515),
JWK (RFC 7517), JWT (RFC 7519). Needs ``fbguard[jwt]``.

The algorithm is settled here, never by the token (RFC 8725 section 3.1), and the key is one that Facebook
publishes under the token's ``kid``: a key or an address in the token's own header is not looked at.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final, cast

try:
    from joserfc import jws
    from joserfc.jwk import RSAKey
except ModuleNotFoundError as _error:
    raise ImportError("limited_login needs joserfc: pip install 'fbguard[jwt]'") from _error

from fbguard.core.limited_login import LIMITED_LOGIN, PERMISSION_OF_CLAIM
from fbguard.core.secret import Secret
from fbguard.core.token import TokenError, TokenInfo
from fbguard.facebook.debug_token import LAST_SECOND, USER_ID
from fbguard.facebook.strict_json import Unreadable, as_object, integer, read_object

Keys = Mapping[str, RSAKey]

CLOCK_MARGIN: Final = 60.0  # seconds by which Facebook's clock and ours may differ

_ALGORITHM: Final = "RS256"
_ISSUERS: Final = (
    "https://www.facebook.com",
    "https://facebook.com",  # of 2021
    "https://limited.facebook.com",  # where the discovery document is
)
_NAME: Final = re.compile(r"[\x21-\x7e]{1,200}")  # of a key or an app
_SMALLEST: Final = 2048  # bits of a key (RFC 7518 section 3.3)
_LARGEST: Final = 16_384  # bits; what is longer takes long
# Header parameters that change what the rest means; who does not know one must refuse (RFC 7515 4.1.11).
_CHANGING: Final = frozenset({"crit", "b64", "zip", "enc"})
_REGISTRY: Final = jws.JWSRegistry(algorithms=[_ALGORITHM], strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Unverified:
    """An ID token as it came: whatever it says may be a lie. Its claims stay out of the repr."""

    key_id: str
    issued: int
    claims: Mapping[str, Any] = field(repr=False)


def parse(token: Secret) -> Unverified | str:
    """Take an ID token apart; return the reason of its refusal if no key could make it good."""
    try:
        header, claims = (read_object(_octets(part)) for part in token.reveal().split(".")[:2])
        _octets(token.reveal().rpartition(".")[2])
    except (Unreadable, ValueError, RecursionError):
        return "malformed_token"
    key_id, issued = header.get("kid"), integer(claims.get("iat"))
    if header.get("alg") != _ALGORITHM or not _CHANGING.isdisjoint(header):
        return "invalid_token"
    if not isinstance(key_id, str) or not _NAME.fullmatch(key_id) or issued is None:
        return "invalid_token"
    return Unverified(key_id, issued, claims)


def read(token: Secret, unverified: Unverified, key: RSAKey, *, fingerprint: str, now: float) -> TokenInfo:
    """Verify an ID token; return the facts in it, or that it is not valid.

    Whether it is this app's, and when its time is over, the judge says, as of every token. ``now`` is wall
    time in seconds, for a token that is not good yet.
    """
    claims = unverified.claims
    user_id, app_id, expires = claims.get("sub"), claims.get("aud"), integer(claims.get("exp"))
    if (
        not _is_signed(token, key)
        or not any(claims.get("iss") == issuer for issuer in _ISSUERS)
        or not (isinstance(app_id, str) and _NAME.fullmatch(app_id))
        or not (isinstance(user_id, str) and USER_ID.fullmatch(user_id))
        or not _is_moment(expires)
        or not _is_moment(unverified.issued)
        or not _has_begun(claims, now)
    ):
        return dead("invalid_token", fingerprint)
    return TokenInfo(
        app_id=intern(app_id),
        type=LIMITED_LOGIN,
        is_valid=True,
        user_id=user_id,
        scopes=frozenset(
            permission
            for claim, permission in PERMISSION_OF_CLAIM.items()
            if claims.get(claim) not in (None, "")
        ),
        issued=unverified.issued,
        expires=expires or 0,
        fingerprint=fingerprint,
    )


def dead(reason: str, fingerprint: str) -> TokenInfo:
    """Return the facts of an ID token that is no good; nothing that it says is believed."""
    return TokenInfo(
        app_id="",
        type="",
        is_valid=False,
        error=TokenError(reason, None, None),
        fingerprint=fingerprint,
    )


def read_keys(body: bytes) -> Keys | None:
    """Read a JWK Set (RFC 7517 section 5): key id -> key; None for what is none, or holds no key for us.

    A key of another kind or for another use is left out, as the RFC has it; so are two of one id.
    """
    try:
        listed = read_object(body).get("keys")
    except (Unreadable, ValueError, RecursionError):
        return None
    found: dict[str, RSAKey | None] = {}
    for item in cast("list[object]", listed) if isinstance(listed, list) else []:
        try:
            key_id, key = _key(as_object(item))
        except Unreadable:
            continue
        found[key_id] = None if key_id in found else key
    return {key_id: key for key_id, key in found.items() if key is not None} or None


def _key(fields: Mapping[str, Any]) -> tuple[str, RSAKey]:
    key_id, modulus, exponent = fields.get("kid"), fields.get("n"), fields.get("e")
    if (
        fields.get("kty") != "RSA"
        or fields.get("use", "sig") != "sig"
        or fields.get("alg", _ALGORITHM) != _ALGORITHM
        or not (isinstance(key_id, str) and _NAME.fullmatch(key_id))
        or not (isinstance(modulus, str) and isinstance(exponent, str))
    ):
        raise Unreadable
    if not _SMALLEST <= len(modulus) * 6 <= _LARGEST + 6:  # six bits a letter; of a short one it would warn
        raise Unreadable
    try:
        key = RSAKey.import_key({"kty": "RSA", "n": modulus, "e": exponent})
        size = key.public_key.key_size  # made when it is asked for: now it shows whether this is a key
    except Exception as exc:
        raise Unreadable from exc
    if size < _SMALLEST:
        raise Unreadable
    return key_id, key


def _is_signed(token: Secret, key: RSAKey) -> bool:
    try:
        jws.deserialize_compact(token.reveal(), key, registry=_REGISTRY)
    except Exception:  # noqa: BLE001 - whatever the library makes of it, it is not verified
        return False
    return True


def _octets(text: str) -> bytes:
    """Decode base64url in its one spelling (RFC 4648 section 3.5); ValueError for any other.

    With another spelling a token would be another one to the cache and to all that ends sessions, and yet
    be good: the signature covers its own spelling not.
    """
    octets = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    if base64.urlsafe_b64encode(octets).decode().rstrip("=") != text:
        raise ValueError("not canonical")
    return octets


def _has_begun(claims: Mapping[str, Any], now: float) -> bool:
    """Heed ``nbf``, which Facebook does not send (RFC 7519 section 4.1.5)."""
    begins = integer(claims.get("nbf", 0))
    return begins is not None and begins <= now + CLOCK_MARGIN


def _is_moment(seconds: int | None) -> bool:
    return seconds is not None and 0 < seconds <= LAST_SECOND
