"""Access tokens: minting them, and telling what the text of one is worth."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fbguard.sandbox import errors
from fbguard.sandbox.world import IssuedToken

if TYPE_CHECKING:
    from fbguard.sandbox.world import App, World

SHORT_LIVED = 3_600  # seconds; Facebook says one to two hours
LONG_LIVED = 60 * 86_400
DATA_ACCESS = 90 * 86_400

# 148 random bytes are 200 letters of base64 with two of padding: the length and the tail of real ones.
_RANDOM_BYTES = 148
_ESCAPES = str.maketrans({"Z": "ZA", "+": "ZB", "/": "ZC", "=": "ZD"})

# Long enough and of the right letters: Graph tries to decrypt it. Anything else it cannot even parse.
_TOKEN_SHAPE = re.compile(r"EAA[A-Za-z0-9]{40,}")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A text that is no token of anybody; ``message`` is what Graph says of it."""

    message: str


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a token that was good once is not good now."""

    subcode: int
    message: str


def mint() -> str:
    """Return a new user, page or system user token: ``EAA`` and letters and digits only."""
    random = base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode()
    return "EAA" + random.translate(_ESCAPES)


def mint_app_token(app_id: str) -> str:
    """Return a new app token: the app's id and 27 random letters."""
    return f"{app_id}|{secrets.token_urlsafe(20)}"


def mint_id() -> str:
    """Return a new id of a user or a page: 16 digits."""
    return str(10**15 + secrets.randbelow(9 * 10**15))


def app_token(app: App) -> str:
    """Return the app token that client_credentials gives out.

    It is computed from the secret, so that giving it out changes nothing, as on Facebook, where
    asking twice gives the same token.
    """
    digest = hmac.digest(app.secret.encode(), b"app token " + app.app_id.encode(), hashlib.sha256)
    return f"{app.app_id}|{base64.urlsafe_b64encode(digest)[:27].decode()}"


def issue(world: World, user_id: str, scopes: tuple[str, ...], now: float) -> str:
    """Log a person in to our app; return the short-lived token."""
    token = mint()
    record = IssuedToken(
        app_id=world.app.app_id,
        type="USER",
        user_id=user_id,
        profile_id=None,
        scopes=scopes,
        granular_scopes=None,
        issued_at=int(now),
        expires_at=int(now) + SHORT_LIVED,
        data_access_expires_at=int(now) + DATA_ACCESS,
        long_lived=False,
    )
    world.add(token, record)
    return token


def prolong(world: World, record: IssuedToken, now: float) -> str:
    """Return a new, long-lived token for what a short-lived one stands for; that one stays good."""
    token = mint()
    world.add(token, replace(record, issued_at=int(now), expires_at=int(now) + LONG_LIVED, long_lived=True))
    return token


def read(world: World, token: str) -> App | IssuedToken | Unreadable:
    """Return what a text stands for: our app itself, a token that was issued here, or nothing."""
    record = world.find(token)
    if record is not None:
        return record
    app = world.app
    app_id, separator, secret = token.partition("|")
    if separator and app_id == app.app_id:
        genuine = secret == app.secret or token == app_token(app)
        return app if genuine else Unreadable(errors.BAD_SIGNATURE)
    if separator and app_id.isdecimal():
        return Unreadable(errors.UNKNOWN_APP)
    return Unreadable(errors.CANNOT_DECRYPT if _TOKEN_SHAPE.fullmatch(token) else errors.CANNOT_PARSE)


def ending(world: World, record: IssuedToken, now: float) -> Ending | None:
    """Return why a token is not valid at ``now`` (unix seconds); None while it is.

    What bars the person altogether is told first, since no new token helps against it; the token's
    own time comes last.
    """
    subcode = world.held(record.user_id) or record.ended
    if subcode is not None:
        return Ending(subcode, errors.session_ended(subcode, record.user_id, record.app_id))
    if record.expires_at and record.expires_at <= now:
        return Ending(errors.EXPIRED, errors.session_expired(record.expires_at, now))
    return None
