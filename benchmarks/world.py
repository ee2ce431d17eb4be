"""What all rows share: an app's guard with a Graph in this process, tokens, and what peers look up."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from benchmarks.floor import Judge
from benchmarks.graph import APP_ID, make_token, user_of
from benchmarks.hit import POLICY, SCOPES
from benchmarks.sides import Proof
from fbguard import Guard, TokenInfo
from fbguard.facebook import debug_token

SECRET: Final = "0123456789abcdef0123456789abcdef"  # the app's
DAY: Final = 86_400.0  # seconds: nothing's time is over before a run is
NEEDED: Final = ("public_profile", "email")  # what POLICY asks of the path that is measured
POOR: Final = ("public_profile",)
BODY: Final = b'{"ok": true}'

_GOOD_USER: Final = 100_000_000_001
_POOR_USER: Final = 100_000_000_002


@dataclass(frozen=True, slots=True)
class Tokens:
    """One that is let in, one without a permission that is needed, one that nobody knows."""

    good: str
    poor: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a peer that looks tokens up finds in memory; ``expires`` is wall time in seconds."""

    user_id: str
    scopes: frozenset[str]
    expires: float


TOKENS: Final = Tokens(make_token(_GOOD_USER), make_token(_POOR_USER), "EAAB" + "Wrong" * 40)
USER: Final = user_of(TOKENS.good)
#: Views of frameworks look their answer up by the user they are told: no other user has one.
BODIES: Final = {USER: BODY}


def is_anything(_carrier: dict[str, Any]) -> bool:
    """Be the proof of rows whose views look their answer up in BODIES."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An app to time. ``added`` is what it takes beyond the row ``base``.

    ``guards`` is False for a row that lets everybody in. ``proof`` tells by a request's scope or environ,
    once the clock has stopped, whether the app was given the right facts.
    """

    protocol: str
    app: Any
    base: str | None
    guards: bool = True
    tokens: Tokens = TOKENS
    proof: Proof = is_anything


@dataclass(frozen=True, slots=True)
class World:
    """What rows are built of; ``stack`` ends with the run."""

    guard: Guard
    judge: Judge
    grants: dict[str, Grant]
    stack: ExitStack


def reply_about(
    user_id: str, scopes: Sequence[str], granular: Sequence[dict[str, Any]] | None = None
) -> bytes:
    """Return what debug_token says of a long-lived token of this user."""
    now = int(time.time())
    data: dict[str, Any] = {
        "app_id": APP_ID,
        "type": "USER",
        "application": "Benchmark",
        "data_access_expires_at": now + 90 * 86_400,
        "expires_at": now + 60 * 86_400,
        "is_valid": True,
        "issued_at": now - 3600,
        "scopes": list(scopes),
        "user_id": user_id,
    }
    if granular is not None:
        data["granular_scopes"] = list(granular)
    return json.dumps({"data": data}).encode()


def facts_of(body: bytes, fingerprint: str = "0123456789ab") -> TokenInfo:
    """Read a reply about a good token as a guard does."""
    info = debug_token.read(200, body, fingerprint)
    if not isinstance(info, TokenInfo):
        raise TypeError("debug_token's reply was not understood")
    return info


@contextmanager
def world(*, cache_size: int = 100_000) -> Generator[World]:
    """Give a world in which nobody has looked a token up yet, but that the floor and the peers know."""
    with ExitStack() as stack:
        guard = Guard(
            app_id=APP_ID,
            app_secret=SECRET,
            ttl=DAY,
            cache_size=cache_size,
            transport=httpx.MockTransport(_debug_token),
        )
        stack.callback(guard.close)
        judge = Judge(APP_ID, POLICY, ttl=DAY)
        judge.remember(TOKENS.good, facts_of(reply_about(USER, SCOPES)))
        judge.remember(TOKENS.poor, facts_of(reply_about(user_of(TOKENS.poor), POOR)))
        yield World(guard, judge, _grants(), stack)


def _grants() -> dict[str, Grant]:
    expires = time.time() + DAY
    return {
        TOKENS.good: Grant(USER, frozenset(SCOPES), expires),
        TOKENS.poor: Grant(user_of(TOKENS.poor), frozenset(POOR), expires),
    }


def _debug_token(request: httpx.Request) -> httpx.Response:
    token = request.url.params["input_token"]
    if token == TOKENS.wrong:
        error = {"code": 190, "message": "Invalid OAuth access token."}
        return httpx.Response(200, json={"data": {"is_valid": False, "error": error, "scopes": []}})
    return httpx.Response(200, content=reply_about(user_of(token), POOR if token == TOKENS.poor else SCOPES))
