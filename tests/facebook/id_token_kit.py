"""Signs ID tokens as Facebook does, and as it would never do."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import RSAKey

from tests.support import APP_ID, NOW

KID = "a" * 40


@cache
def a_key(kid: str = KID, bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid})


def claims(**changes: object) -> dict[str, Any]:
    """Return what an ID token says; an Ellipsis removes a claim."""
    said: dict[str, Any] = {
        "iss": "https://www.facebook.com",
        "aud": APP_ID,
        "sub": "1001",
        "iat": NOW,
        "exp": NOW + 3600,
        "jti": "abcd.0123",
        "nonce": "0a1b2c",
        "name": "Alex Example",
        "email": "alex@example.com",
    }
    return {name: value for name, value in (said | changes).items() if value is not ...}


def header(**changes: object) -> dict[str, Any]:
    said: dict[str, Any] = {"alg": "RS256", "typ": "JWT", "kid": KID}
    return {name: value for name, value in (said | changes).items() if value is not ...}


def encoded(value: object) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def signed(said: object = None, head: dict[str, Any] | None = None, key: RSAKey | None = None) -> str:
    """Return an ID token under the key; a ``said`` of bytes is what is signed, as it is."""
    payload = said if isinstance(said, bytes) else json.dumps(claims() if said is None else said).encode()
    return signed_text(f"{encoded(header() if head is None else head)}.{encoded(payload)}", key)


def signed_text(text: str, key: RSAKey | None = None) -> str:
    """Return a text with its true RS256 signature, whatever the text says."""
    algorithm = jws.JWSRegistry(algorithms=["RS256"]).get_alg("RS256")
    signature = algorithm.sign(text.encode(), key or a_key())
    return f"{text}.{encoded(signature)}"


def published(*keys: RSAKey, **changes: object) -> bytes:
    """Return a JWK Set; ``changes`` are made to every key, an Ellipsis removes a member."""
    listed = [
        {**key.as_dict(private=False), "use": "sig", "alg": "RS256"} | changes for key in keys or (a_key(),)
    ]
    shown = [{name: value for name, value in one.items() if value is not ...} for one in listed]
    return json.dumps({"keys": shown}).encode()
