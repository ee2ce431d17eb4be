"""The Graph calls of the guard itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import debug_token

CredentialPlace = Literal["header", "query"]


class Client(Protocol):
    """What :class:`fbguard.facebook.transport.GraphClient` is to this module."""

    async def get(
        self, url: str, *, input_token: Secret, credential: Secret, in_header: bool
    ) -> tuple[int, bytes] | None:
        """Return status and body, or None when nobody answered."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

    def abandon(self) -> None:
        """Forget the connections without touching them: they are the parent's, this is its child."""
        ...


@dataclass(frozen=True, slots=True)
class Graph:
    """Where Graph is and who we are there.

    ``url`` has no trailing slash; ``credential`` is the literal ``app_id|app_secret`` (Graph API,
    access token guide), sent in the Authorization header unless ``credential_in`` is "query".
    """

    url: str
    version: str
    credential: Secret
    credential_in: CredentialPlace = "header"

    async def debug_token(self, client: Client, token: Secret, fingerprint: str) -> TokenInfo | Finding:
        """Ask Graph about a token (Graph API, debug_token reference). No deadline of its own."""
        reply = await client.get(
            f"{self.url}/{self.version}/debug_token",
            input_token=token,
            credential=self.credential,
            in_header=self.credential_in == "header",
        )
        if reply is None:
            return debug_token.UNAVAILABLE
        return debug_token.read(*reply, fingerprint)
