"""The Graph calls of the guard itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import debug_token
from fbguard.facebook.usage import seconds_to_wait

CredentialPlace = Literal["header", "query"]


class Reply(NamedTuple):
    """What came back: HTTP status, body, and a look-up of headers by their name in lower case."""

    status: int
    body: bytes
    header: Callable[[str], str | None]


class Client(Protocol):
    """What :class:`fbguard.facebook.transport.GraphClient` is to this module."""

    async def get(
        self, url: str, params: Mapping[str, str | Secret], *, credential: Secret, in_header: bool
    ) -> Reply | None:
        """Return what came back, or None when nobody answered."""
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

    ``url`` has no trailing slash. A credential is the literal ``app_id|app_secret`` (Graph API, access
    token guide), sent in the Authorization header unless ``credential_in`` is "query".
    """

    url: str
    version: str
    credential_in: CredentialPlace = "header"

    async def debug_token(
        self, client: Client, credential: Secret, token: Secret, fingerprint: str
    ) -> TokenInfo | Finding:
        """Ask Graph about a token (Graph API, debug_token reference). No deadline of its own."""
        reply = await self._get(client, "debug_token", {"input_token": token}, credential)
        if reply is None:
            return debug_token.UNAVAILABLE
        outcome = debug_token.read(reply.status, reply.body, fingerprint)
        if isinstance(outcome, Finding) and (wait := seconds_to_wait(reply.header)):
            return replace(outcome, retry_after=wait)
        return outcome

    async def _get(
        self, client: Client, path: str, params: Mapping[str, str | Secret], credential: Secret
    ) -> Reply | None:
        return await client.get(
            f"{self.url}/{self.version}/{path}",
            params,
            credential=credential,
            in_header=self.credential_in == "header",
        )
