"""The keys that ID tokens are signed with. Needs ``fbguard[jwt]``."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

_ALGORITHM: Final = "RS256"
_BITS: Final = 2048


class SigningKeys:
    """The keys that are published; the last one signs. The first is made when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: list[RSAKey] = []

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a signed token (RFC 7519) that says this."""
        key = self._current()
        from joserfc import jwt  # noqa: PLC0415 - it is there: there is a key

        return jwt.encode({"alg": _ALGORITHM, "typ": "JWT", "kid": key.kid}, claims, key)

    def _current(self) -> RSAKey:
        with self._lock:
            if not self._keys:
                self._keys = [_new_key()]
            return self._keys[-1]

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with a new key; the old ones are published on, or no more."""
        with self._lock:
            self._keys = [*(self._keys if keep_old else ()), _new_key()]

    def published(self) -> list[dict[str, object]]:
        """Return the public halves as JWKs (RFC 7517); none before the first token."""
        with self._lock:
            keys = list(self._keys)
        return [{**key.as_dict(private=False), "use": "sig", "alg": _ALGORITHM} for key in keys]


def _new_key() -> RSAKey:
    try:
        from joserfc.jwk import RSAKey  # noqa: PLC0415 - who issues no ID token need not have it
    except ModuleNotFoundError as error:
        raise ImportError("ID tokens need joserfc: pip install 'fbguard[jwt]'") from error
    return RSAKey.generate_key(_BITS, {"kid": secrets.token_hex(20)})
