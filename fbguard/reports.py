"""What a view hears from Graph about this request's token, and what follows from it.

One rule for every adapter: an :class:`fbguard.OAuthException` that leaves a view is answered like a
refusal of the guard's own if it is about the token of this request, and then nothing that is known of
that token counts any more. Otherwise it is an exception of the application like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, cast

from fbguard.context import FORGOTTEN, TOKEN, asked_of, credential_of, demands_of, left_in
from fbguard.core.cache import key_of
from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook.debug_token import RETRY_THROTTLED, RETRY_UNAVAILABLE
from fbguard.guard import Guard

_DONT_KNOW: Final = {"throttled": RETRY_THROTTLED, "unavailable": RETRY_UNAVAILABLE}  # seconds to wait
_DEEPEST: Final = 32  # exceptions in exceptions


def refusal_of(carrier: Carrier, error: BaseException) -> Refused | None:
    """Return the refusal that an exception is or comes to, None if it is the application's own matter.

    Of a group (``asyncio.TaskGroup``) that of its first, if every one of it has a refusal. Forgets the
    token, unless nothing was said about it (throttled, unavailable): the next request that carries it is
    looked up.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, OAuthException):
        return _refusal_of_graphs_word(carrier, error)
    if isinstance(error, BaseExceptionGroup):
        inner = cast("tuple[BaseException, ...]", error.exceptions)  # pyright: ignore[reportUnknownMemberType]
        found = [refusal_of(carrier, one) for one in inner]
        return found[0] if all(found) else None
    return None


def _refusal_of_graphs_word(carrier: Carrier, error: OAuthException) -> Refused | None:
    guard, reason = _guard_of(carrier, error), error.reason
    if guard is None or reason is None:
        return None
    if reason not in _DONT_KNOW:
        _forget(carrier, guard)
    demands = (*demands_of(carrier), *asked_of(carrier))
    asked = dict.fromkeys(scope for requirement, _ in demands for scope in requirement.scopes)
    wait = _DONT_KNOW.get(reason)
    if wait is not None and error.retry_after is not None:
        wait = max(math.ceil(error.retry_after), 1)
    required = tuple(asked) if reason == "insufficient_scope" else ()
    return guard.refusal(
        Finding(reason, error.code, error.subcode, required=required, retry_after=wait), demands
    )


def _guard_of(carrier: Carrier, error: OAuthException) -> Guard | None:
    """Return the guard of this request's token if an error is about that token."""
    info = carrier.get(TOKEN)
    _, guard, _, _, token = left_in(carrier)
    if not isinstance(guard, Guard) or not isinstance(info, TokenInfo):
        return None
    if error.token_key is not None and isinstance(token, Secret):
        is_this = error.token_key == key_of(token)
    else:
        is_this = error.token_fingerprint in {None, info.fingerprint}
    return guard if is_this else None  # else a page's or another user's: nobody is logged out for that


def _forget(carrier: Carrier, guard: Guard) -> None:
    """Forget the facts of this request, once: what is known by the next time is newer than the error."""
    info, token = carrier.get(TOKEN), credential_of(carrier)
    if isinstance(token, Secret) and carrier.get(FORGOTTEN) is not info:
        carrier[FORGOTTEN] = info
        guard.forget(token, info)


def heed_dead(carrier: Carrier, error: OAuthException) -> None:
    """Forget the token if an error says that it is dead; whoever catches the error, that is news."""
    guard = _guard_of(carrier, error)
    if guard is not None and error.category == "login_recoverable":
        _forget(carrier, guard)


def heed(carrier: Carrier, error: BaseException) -> None:
    """Forget the token if an exception that cannot be answered any more tells that it is dead."""
    for reported in _reported(error):
        refusal_of(carrier, reported)


def _reported(error: BaseException) -> Iterator[OAuthException]:
    """Give what Graph said, also from inside of what frameworks make of it: groups, causes."""
    waiting = [error]
    for _ in range(_DEEPEST):
        if not waiting:
            return
        one = waiting.pop()
        if isinstance(one, OAuthException):
            yield one
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        if one.__cause__ is not None:
            waiting.append(one.__cause__)
