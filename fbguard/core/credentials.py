"""The token of a request: where it stands and what it may look like. Pure.

One ``Authorization: Bearer <token>`` header (RFC 6750 section 2.1), stricter than the grammar of
RFC 9110 on purpose: exactly one space, one header, no comma anywhere in its value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret

MAX_LENGTH: Final = 4096  # Meta promises no maximum; tokens of today have 180 to 300 characters
_B64TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_PRINTABLE: Final = re.compile(r"[\t\x20-\x7e]*")
_JWT_PARTS: Final = 3

AMBIGUOUS: Final = Finding("invalid_request")
MALFORMED: Final = Finding("malformed_token")
LIMITED_LOGIN: Final = Finding("limited_login")
MISSING: Final = Finding("missing_token")
FOREIGN_COOKIE: Final = Finding(
    "missing_token",
    detail="A cookie with a token came, but on this verb it counts only from a page of this very host: "
    "Origin must name what Host does. A proxy in front must pass the Host of the page on.",
)


def from_authorization(values: Sequence[str], *, id_tokens: bool = False) -> Secret | Finding | None:
    """Read the values of a request's Authorization headers, in order.

    ``id_tokens`` tells whether those of Limited Login are taken. Returns the token, or None for no
    credential (another scheme than Bearer is none), or why the request is refused before anything is
    looked up.
    """
    if not values:
        return None
    if len(values) > 1 or "," in values[0]:
        # Servers that join repeated headers do it by commas, which no token contains.
        return AMBIGUOUS
    value = values[0].strip(" \t")
    if not value or not _PRINTABLE.fullmatch(value):
        return MALFORMED
    scheme, _, rest = value.replace("\t", " ", 1).partition(" ")
    if scheme.lower() != "bearer":
        return None
    if value[len(scheme) : len(scheme) + 1] != " ":
        return MALFORMED
    return screen(Secret(rest), id_tokens=id_tokens)


def screen(token: Secret, *, id_tokens: bool = False) -> Secret | Finding:
    """Return the token, or why it cannot be one of Facebook's whatever Facebook would say.

    Outside the charset is also ``app_id|app_secret``: an app's own credential in a client's hand.
    """
    if len(token.reveal()) > MAX_LENGTH or not _B64TOKEN.fullmatch(token.reveal()):
        return MALFORMED
    return LIMITED_LOGIN if not id_tokens and is_id_token(token) else token


def is_id_token(token: Secret) -> bool:
    """Tell a signed ID token (OpenID Connect, a JWT of RFC 7519) from an access token, by its shape."""
    return token.reveal().startswith("eyJ") and token.reveal().count(".") == _JWT_PARTS - 1


def boxed(token: object) -> Secret:
    """Put what a caller gives as a token into a Secret, whatever it is: :func:`screened` says."""
    return Secret(cast("str", token))


def screened(given: Secret, *, id_tokens: bool) -> Secret | Finding:
    """Return a token that may be looked up, or why it is refused unasked; raises TypeError for no str."""
    kind: type = type(given.reveal())
    if kind is type(None):
        return MISSING
    if not issubclass(kind, str):
        raise TypeError(f"token must be a str, not {kind.__name__}")
    return screen(given, id_tokens=id_tokens)
