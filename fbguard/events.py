"""What happens to a guard, as records: for the log, and for ``Guard(on_event=...)``.

Each is told once, where it happens. None holds a token, a secret or anything of a request: tokens are
named by their fingerprint, users by a keyed one of their own. Fingerprints are the same on all workers.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, cast

logger = logging.getLogger("fbguard")

#: The ``answer`` of a look-up: Graph has said yes, no, or nothing that counts.
LookUpAnswer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a guard; ``level`` is its level in the log, ``str()`` its line there."""

    level: ClassVar[int] = logging.WARNING


Tell = Callable[[Event], None]


# -- tokens and sessions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLookedUp(Event):
    """A token that is not known had to be looked up, and what came of it.

    ``token`` is :attr:`fbguard.TokenInfo.fingerprint`; ``reason`` why not (None for a yes, and for a no
    that names no error: its time is over, or it is another app's); ``code`` what Graph gave with it;
    ``seconds`` how long it took, with what stands in front of Graph. Where Graph is left alone (it throttles,
    does not answer, refuses the app, or too many wait), the answer is "unknown" at once, without a call.
    """

    level = logging.DEBUG

    token: str
    answer: LookUpAnswer
    reason: str | None
    code: int | None
    seconds: float

    def __str__(self) -> str:
        if self.answer == "unknown":
            return f"token {self.token}: {self.reason} (code {self.code})"
        return f"token {self.token}: {'valid' if self.answer == 'yes' else 'not valid'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """The session of a token was ended here, by ``expire_session`` or a legacy call."""

    level = logging.INFO

    token: str

    def __str__(self) -> str:
        return f"token {self.token}: its session was ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSessionsEnded(Event):
    """Facebook said that a user has left the app or wants the data deleted."""

    level = logging.INFO

    user: str

    def __str__(self) -> str:
        return f"user {self.user}: sessions were ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserForgotten(Event):
    """What was known of a user's tokens was forgotten, by ``forget_user`` or a webhook."""

    level = logging.INFO

    user: str

    def __str__(self) -> str:
        return f"user {self.user}: tokens will be looked up anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class TombstoneDropped(Event):
    """More sessions were ended than can be remembered."""

    def __str__(self) -> str:
        return "more sessions were ended than can be remembered: the oldest is forgotten"


# -- Graph -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStateChanged(Event):
    """Graph throttles, does not answer, refuses the app, or is well again (``reason`` is None)."""

    level = logging.INFO

    reason: str | None

    def __str__(self) -> str:
        return f"Graph: {self.reason or 'all is well'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRefused(Event):
    """Graph refuses the app's own credential, by the guard's own probe; once a minute while it does."""

    def __str__(self) -> str:
        return "Graph refuses the app's own credential: check app_id and app_secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialAccepted(Event):
    """Graph takes the app's credential again."""

    level = logging.INFO

    def __str__(self) -> str:
        return "Graph takes the app's credential again"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReplaced(Event):
    """Of several app secrets another one is used, for Graph has refused the one before."""

    def __str__(self) -> str:
        return "Graph refuses one of the app's secrets; another one is used"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRefused(Event):
    """A host's certificate is not accepted, Graph's or the keys'; ``why`` is in the TLS library's words."""

    host: str
    why: str

    def __str__(self) -> str:
        return (
            f"nothing can be looked up at {self.host}: its certificate is not accepted ({self.why}); a "
            "private CA needs transport="
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchesRefused(Event):
    """Graph, or something on the way to it, refuses batch calls."""

    def __str__(self) -> str:
        return "Graph refuses batch calls: for a minute tokens are asked for one by one"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensOfAnotherApp(Event):
    """Graph has taken the last ``count`` tokens for another app's."""

    count: int

    def __str__(self) -> str:
        return f"Graph takes the last {self.count} tokens for another app's: check app_id and the app's type"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeysFetched(Event):
    """The keys that sign Limited Login's tokens are there: for the first time, other ones, or again."""

    level = logging.INFO

    count: int

    def __str__(self) -> str:
        return f"Limited Login: {self.count} signing keys were fetched"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeysUnavailable(Event):
    """The keys that sign Limited Login's tokens cannot be fetched; told once until they can.

    ``status`` is HTTP's, None where nobody answered; 200 came with what is no key set.
    """

    status: int | None

    def __str__(self) -> str:
        how = "nobody answers" if self.status is None else f"HTTP {self.status}"
        return f"Limited Login: Facebook's signing keys cannot be fetched ({how})"


# -- the shared store --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLost(Event):
    """The link on which the store's news come is lost."""

    def __str__(self) -> str:
        return "the link to the store is lost: each token is asked for there now"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreHeard(Event):
    """The store's news are heard, from now on."""

    level = logging.INFO

    def __str__(self) -> str:
        return "the news of the store are heard"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed(Event):
    """Something went wrong with the store that is not its being away; ``what`` tells what and how."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreWrittenAnew(Event):
    """The store lacks what it had: it was emptied, or a replica without the last of it has taken over."""

    def __str__(self) -> str:
        return "the store lacks what it had: the sessions that ended here are written anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFallenBehind(Event):
    """While the store is away, more sessions have ended than can wait for it."""

    def __str__(self) -> str:
        return "more sessions ended than can wait for the store: all are told once it is back"


# -- who hears of it ---------------------------------------------------------------------------------------


def log(event: Event) -> None:
    """Be a ``tell`` that only writes the log."""
    if logger.isEnabledFor(event.level):
        logger.log(event.level, "%s", event)


def teller(on_event: object) -> Tell:
    """Return what parts of a guard tell their events: the log, and then the ``on_event`` option.

    Raises TypeError if that is neither None nor callable, or a coroutine function, which nobody would await.
    """
    if on_event is None:
        return log
    if not callable(on_event):
        raise TypeError("on_event must be callable")
    called = getattr(type(on_event), "__call__", None)  # noqa: B004 - of an object that is called
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(called):
        raise TypeError("on_event must be no coroutine function: it is called, not awaited")
    return _Teller(cast("Tell", on_event)).tell


class _Teller:
    """Tells the user, too, whose mistakes are not the guard's.

    Not KeyboardInterrupt, which is the person's at the keyboard; what else is no Exception would end the
    loop that all guards share, or pass for the end of a look-up.
    """

    def __init__(self, on_event: Tell) -> None:
        self._on_event: Final = on_event

    def tell(self, event: Event) -> None:
        log(event)
        handled = sys.exception()
        try:
            self._on_event(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            _forget(error, handled)
            logger.exception("on_event failed at %s", type(event).__name__)


def _forget(error: BaseException, handled: BaseException | None) -> None:
    """Cut what was handled before off an exception: where we tell of it, a client's own may hold a token."""
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    error.__context__ = None
