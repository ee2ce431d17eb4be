"""A token or an app secret that no log line, repr or traceback shows."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn


class Secret:
    """Holds a text; only :meth:`reveal` gives it back.

    Tokens and app secrets travel as this from the moment they are read, so that a traceback
    with local variables (Sentry, rich, a debug page) has nothing to print.
    """

    __slots__ = ("_digest", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._digest: bytes | None = None

    def reveal(self) -> str:
        """Return the text. Call it inside the expression that needs it; do not name the result."""
        return self._value

    def digest(self) -> bytes:
        """Return the SHA-256 digest of the text (32 bytes), computed once: a look-up needs it many times."""
        if self._digest is None:
            self._digest = hashlib.sha256(self._value.encode()).digest()
        return self._digest

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied")
