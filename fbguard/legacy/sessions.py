"""What is known of legacy sessions in this process: whose they are, and how far their calls have come."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from cachetools import LRUCache

from fbguard.core import forks
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.facebook.rest import is_session_key

_MAX_LENGTH: Final = 256
_SECRET: Final = re.compile(r"[\x21-\x7e]+")


class Session(NamedTuple):
    """A registered session: its access token, and the session secret that the client was given, if any."""

    token: Secret
    secret: Secret | None


class SessionRegistry:
    """Which access token a session key stands for; at most ``size`` of them, the longest unused go first.

    Keys are kept as SHA-256 digests. Safe for threads, and usable in a forked child.
    """

    def __init__(self, size: int = 100_000) -> None:
        self._sessions: MutableMapping[bytes, Session] = LRUCache(size)
        self._lock = threading.Lock()
        forks.each_in_child(self)

    def register(self, session_key: Secret, token: Secret, secret: Secret | None = None) -> None:
        """Remember a session; again with the same key replaces it.

        Raises ValueError for an empty token, for a secret that is not printable ASCII without white space,
        and for a key that is not so, or longer than 256 characters, or holds ``=``: a signature over such
        a key could be read two ways.
        """
        if len(session_key.reveal()) > _MAX_LENGTH or not is_session_key(session_key):
            raise ValueError(
                "session_key must be 1 to 256 characters of printable ASCII without white space and '='"
            )
        if not token.reveal():
            raise ValueError("token must not be empty")
        if secret is not None and not _SECRET.fullmatch(secret.reveal()):
            raise ValueError("secret must not be blank and holds printable ASCII without white space")
        with self._lock:
            self._sessions[key_of(session_key)] = Session(token, secret)

    def find(self, session_key: Secret) -> Session | None:
        """Return the session that was registered under a key."""
        with self._lock:
            return self._sessions.get(key_of(session_key))

    def __len__(self) -> int:
        with self._lock:
            return len(self._sessions)

    def __repr__(self) -> str:
        return f"SessionRegistry({len(self)} sessions)"

    def begin_anew(self) -> None:
        """Take a new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Last:
    call_id: Decimal
    trace: bytes


class CallOrder:
    """The last ``call_id`` of each of ``size`` sessions: those after it must be greater.

    One exception, for who did not hear the answer and asks again: the very same call about the very same
    token. It does no harm, since what it ends is ended. Safe for threads, and usable in a forked child.
    """

    def __init__(self, size: int = 100_000) -> None:
        self._last: MutableMapping[bytes, _Last] = LRUCache(size)
        self._lock = threading.Lock()
        forks.each_in_child(self)

    def allows(self, session_key: Secret, call_id: str, signature: Secret, token: Secret) -> bool:
        """Tell whether a call may be made; ``call_id`` is a decimal number."""
        with self._lock:
            last = self._last.get(key_of(session_key))
        if last is None or Decimal(call_id) > last.call_id:
            return True
        return Decimal(call_id) == last.call_id and _trace(signature, token) == last.trace

    def note(self, session_key: Secret, call_id: str, signature: Secret, token: Secret) -> None:
        """Remember a call that was made."""
        made = _Last(Decimal(call_id), _trace(signature, token))
        with self._lock:
            last = self._last.get(key_of(session_key))
            if last is None or made.call_id > last.call_id:
                self._last[key_of(session_key)] = made

    def begin_anew(self) -> None:
        """Take a new lock, as :meth:`SessionRegistry.begin_anew` does."""
        self._lock = threading.Lock()


def _trace(signature: Secret, token: Secret) -> bytes:
    return hashlib.sha256(key_of(signature) + key_of(token)).digest()
