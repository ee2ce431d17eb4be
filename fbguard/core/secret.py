"""A token or an app secret that no log line, repr or traceback shows."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NoReturn


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
            self._digest = hashlib.sha256(self.reveal().encode()).digest()
        return self._digest

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied")


class _Recalled(Secret):
    """The Secret of a token that is known, as its header held it: few requests ever want its text.

    Each hit makes one; an ``__init__`` of Python's would take longer than all the rest of that.
    """

    __slots__ = ("_raw",)

    _raw: str | bytes

    __init__ = object.__init__  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def of(raw: str | bytes, digest: bytes) -> Secret:
        """Return the Secret of a token whose digest is known."""
        secret: _Recalled = _Recalled()  # pyright: ignore[reportCallIssue]
        secret._raw, secret._digest = raw, digest
        return secret

    def reveal(self) -> str:
        raw = self._raw
        return raw if isinstance(raw, str) else raw.decode("latin-1")


recalled: Final = _Recalled.of
