"""What the app secret signs: fingerprints of tokens, and the proofs that go with Graph calls. Pure."""

from __future__ import annotations

import hmac
from typing import Final

from fbguard.core.secret import Secret

_FINGERPRINT_LENGTH: Final = 12  # hex digits


class Signer:
    """Signs with one app secret; of rotated secrets the first."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def fingerprint(self, token: Secret) -> str:
        """Return a token's short name: safe to log, equal on all workers."""
        return self._digest(token)[:_FINGERPRINT_LENGTH]

    def short(self, name: str) -> str:
        """Return a short name for something that is no token, as a user id: equal on all workers."""
        return self._digest(Secret(f"name:{name}"))[:_FINGERPRINT_LENGTH]

    def proof(self, token: Secret, at: int | None = None) -> dict[str, str]:
        """Return the parameters that prove to Graph that a call comes from the app's own server.

        ``appsecret_proof`` is the hex HMAC-SHA256 of the token; of a timed one, of ``token|at``, which
        Graph takes for five minutes around ``appsecret_time`` (Graph API, "Securing Graph API Calls").
        """
        if at is None:
            return {"appsecret_proof": self._digest(token)}
        return {"appsecret_proof": self._digest(token, f"|{at}"), "appsecret_time": str(at)}

    def _digest(self, token: Secret, more: str = "") -> str:
        return hmac.digest(self._secret.reveal().encode(), f"{token.reveal()}{more}".encode(), "sha256").hex()
