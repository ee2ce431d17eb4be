"""Filling a guard's memory without a million look-ups: the one place that knows where a guard keeps facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from benchmarks.graph import make_token, user_of
from benchmarks.hit import SCOPES
from benchmarks.world import facts_of, reply_about
from fbguard import Guard
from fbguard.core.cache import FactCache, key_of
from fbguard.core.secret import Secret

NO_GRANTS, NO_TARGETS, ONE_TARGET = "no granular scopes", "granular scopes, no target", "one granular target"
KINDS: Final = (NO_GRANTS, NO_TARGETS, ONE_TARGET)

_FIRST: Final = 200_000_000_000
_FIRST_PAGE: Final = 300_000_000_000  # a page of each user's own
_USER, _PAGE = b"<user>", b"<page>"


def token_of(number: int) -> str:
    """Return the token of the number's user."""
    return make_token(_FIRST + number)


def fill(guard: Guard, numbers: Iterable[int], kind: str = NO_TARGETS) -> None:
    """Store what debug_token says of these users' tokens, read as it is read from Graph."""
    cache = cast("FactCache", vars(guard)["_cache"])
    template = reply_about(_USER.decode(), SCOPES, _granular(kind))
    for number in numbers:
        token = token_of(number)
        user_id = user_of(token)
        # Only what is a person's own is new each time: a reply takes longer to write than to read.
        body = template.replace(_USER, user_id.encode()).replace(_PAGE, b"%d" % (_FIRST_PAGE + number))
        secret = Secret(token)
        info = facts_of(body, guard.signer.fingerprint(secret))
        cache.put(key_of(secret), info, good=True)


def _granular(kind: str) -> list[dict[str, Any]] | None:
    if kind == NO_GRANTS:
        return None
    grants: list[dict[str, Any]] = [{"scope": scope} for scope in SCOPES]
    if kind == ONE_TARGET:
        grants[-1]["target_ids"] = [_PAGE.decode()]
    return grants
