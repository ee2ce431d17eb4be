"""The Graph calls of the guard itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, cast

from fbguard.core.errors import OAuthException
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook import batch, debug_token, login
from fbguard.facebook.graph_error import read_error
from fbguard.facebook.usage import Usage, usage_of

CredentialPlace = Literal["header", "query"]
Outcome = TokenInfo | Finding

MAX_REPLY: Final = 64 * 1024  # bytes; a debug_token reply has a few hundred
_MAX_BATCH_REPLY: Final = 16 * MAX_REPLY  # fifty of them, and room for long lists of pages
_OK = 200


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

    async def fetch(self, url: str) -> Reply | None:
        """Return what came back from a public address, or None when nobody answered."""
        ...

    async def post(self, url: str, form: Secret, *, most: int) -> Reply | None:
        """Send an encoded form; return what came back, without a body of more than ``most`` bytes."""
        ...

    async def delete(self, url: str, params: Mapping[str, str], *, token: Secret) -> Reply | None:
        """Send a DELETE as the owner of ``token``; return what came back, or None when nobody answered."""
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
    app_id: str
    credential_in: CredentialPlace = "header"

    async def debug_token(
        self, client: Client, credential: Secret, token: Secret, fingerprint: str
    ) -> tuple[Outcome, Usage]:
        """Ask Graph about a token (Graph API, debug_token reference). No deadline of its own.

        Returns what it said, and what its headers say about our use of it.
        """
        reply = await self._get(client, "debug_token", {"input_token": token}, credential)
        if reply is None:
            return debug_token.UNAVAILABLE, Usage()
        return debug_token.read(reply.status, reply.body, fingerprint), usage_of(reply.header)

    async def debug_tokens(
        self, client: Client, credential: Secret, asked: Sequence[tuple[Secret, str]]
    ) -> tuple[Sequence[Outcome | None] | Finding | None, Usage]:
        """Ask about up to fifty tokens, with their fingerprints, in one call (Graph API, "Batch requests").

        Returns what it said about each in their order, where None is nothing; a Finding about Graph
        instead; or None if it does not do this for us. The credential is the form field that the
        reference asks for, wherever single calls carry theirs.
        """
        form = batch.written(credential, [token for token, _ in asked])
        reply = await client.post(f"{self.url}/{self.version}/", form, most=_MAX_BATCH_REPLY)
        if reply is None:
            return debug_token.UNAVAILABLE, Usage()
        fingerprints = [fingerprint for _, fingerprint in asked]
        return batch.read(reply.status, reply.body, fingerprints), usage_of(reply.header)

    async def takes(self, client: Client, credential: Secret) -> bool | None:
        """Tell whether Graph takes a credential of ours; None if it did not say.

        Asks for our own app (Graph API, Application node), which needs nothing but the credential.
        """
        reply = await self._get(client, self.app_id, {"fields": "id"}, credential)
        if reply is None:
            return None
        try:
            body: object = json.loads(reply.body)
        except (ValueError, RecursionError):
            return None
        if reply.status == _OK and body == {"id": self.app_id}:
            return True
        finding = debug_token.read(reply.status, reply.body, "")
        return False if isinstance(finding, Finding) and finding.blames_us else None

    async def revoke(
        self, client: Client, token: Secret, user: str, proof: Mapping[str, str]
    ) -> OAuthException | Finding | None:
        """Take all of the app's permissions of ``user`` (an id or "me") away, as the owner of ``token``.

        That ends every token of the person for the app (Graph API, user permissions reference). Returns
        None when it is done, else what Graph said, or a don't-know.
        """
        reply = await client.delete(f"{self.url}/{self.version}/{user}/permissions", proof, token=token)
        if reply is None:
            return debug_token.UNAVAILABLE
        try:
            body: object = json.loads(reply.body)
        except (ValueError, RecursionError):
            return debug_token.UNAVAILABLE
        error = read_error(body, status=reply.status, header=reply.header, token=token)
        return error or (None if reply.status == _OK and _is_done(body) else debug_token.UNAVAILABLE)

    async def exchange(
        self, client: Client, credential: Secret, code: Secret, redirect_uri: str
    ) -> tuple[Secret | Finding, Usage]:
        """Exchange a code of the login dialog for a token (Facebook Login, manual flow).

        Returns the token or why there is none, and what the reply's headers say about our use of Graph.
        """
        form = login.code_form(credential, redirect_uri, code)
        reply = await client.post(f"{self.url}/{self.version}/oauth/access_token", form, most=MAX_REPLY)
        if reply is None:
            return debug_token.UNAVAILABLE, Usage()
        return login.read_token(reply.status, reply.body), usage_of(reply.header)

    async def _get(
        self, client: Client, path: str, params: Mapping[str, str | Secret], credential: Secret
    ) -> Reply | None:
        return await client.get(
            f"{self.url}/{self.version}/{path}",
            params,
            credential=credential,
            in_header=self.credential_in == "header",
        )


def _is_done(body: object) -> bool:
    """Tell whether Graph says that something is done: as ``true``, or ``{"success": true}``."""
    if isinstance(body, dict) and body.keys() == {"success"}:
        body = cast("dict[str, object]", body)["success"]
    return body is True
