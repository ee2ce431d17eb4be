"""What a view hears from Graph about this request's token, and what follows from it.

One rule for every adapter: an :class:`fbguard.OAuthException` that leaves a view is answered like a
refusal of the guard's own if it is about the token of this request, and then nothing that is known of
that token counts any more. Otherwise it is an exception of the application like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fbguard.context import ASKED, CREDENTIAL, DEMANDS, GUARD, TOKEN
from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook.debug_token import RETRY_THROTTLED, UNAVAILABLE
from fbguard.guard import Guard

_DONT_KNOW: Final = {"throttled": RETRY_THROTTLED, "unavailable": UNAVAILABLE.retry_after}  # seconds to wait
_DEEPEST: Final = 32  # exceptions in exceptions


def refusal_of(carrier: Carrier, error: OAuthException) -> Refused | None:
    """Return the refusal that answers an error, None if it is the application's own matter.

    Forgets the token, unless nothing was said about it (throttled, unavailable): the next request that
    carries it is looked up.
    """
    guard, reason = _guard_of(carrier, error), error.reason
    if guard is None or reason is None:
        return None
    token = carrier.get(CREDENTIAL)
    if reason not in _DONT_KNOW and isinstance(token, Secret):
        guard.forget(token)
    demands = (*carrier.get(DEMANDS, ()), *carrier.get(ASKED, ()))
    asked = dict.fromkeys(scope for requirement, _ in demands for scope in requirement.scopes)
    finding = Finding(
        reason,
        error.code,
        error.subcode,
        required=tuple(asked) if reason == "insufficient_scope" else (),
        retry_after=(error.retry_after or _DONT_KNOW[reason]) if reason in _DONT_KNOW else None,
    )
    return guard.refusal(finding, demands)


def _guard_of(carrier: Carrier, error: OAuthException) -> Guard | None:
    """Return the guard of this request's token if an error is about that token."""
    guard, info = carrier.get(GUARD), carrier.get(TOKEN)
    if not isinstance(guard, Guard) or not isinstance(info, TokenInfo):
        return None
    # Else a page's or another user's token: nobody is logged out for that.
    return guard if error.token_fingerprint in {None, info.fingerprint} else None


def heed_dead(carrier: Carrier, error: OAuthException) -> None:
    """Forget the token if an error says that it is dead; whoever catches the error, that is news."""
    guard, token = _guard_of(carrier, error), carrier.get(CREDENTIAL)
    if guard is not None and isinstance(token, Secret) and error.category == "login_recoverable":
        guard.forget(token)


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
