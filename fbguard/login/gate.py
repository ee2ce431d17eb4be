"""What a login needs of a guard: Facebook's dialog, a token for its code, the end of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from fbguard.core.errors import Refused
from fbguard.core.limits import Asker
from fbguard.core.lookups import LookUps
from fbguard.core.reasons import Finding
from fbguard.core.requirement import Requirement
from fbguard.core.secret import Secret
from fbguard.core.sources import TokenSources
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Validator
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.login import dialog_url
from fbguard.revocation.revoker import Revoker

_ANY_USER: Final = ((Requirement(), None),)


class Gate:
    """The part of a guard that a login uses; ``deadline`` is the seconds for each of its two calls.

    ``refuse_closed`` raises RuntimeError once the guard is closed.
    """

    def __init__(
        self,
        sources: TokenSources,
        validator: Validator,
        look_ups: LookUps,
        revoker: Revoker,
        refuse_closed: Callable[[], None],
        *,
        redirect_uri: str,
        deadline: float,
    ) -> None:
        self.sources = sources
        self._validator = validator
        self._look_ups = look_ups
        self._revoker = revoker
        self._refuse_closed = refuse_closed
        self._redirect_uri = redirect_uri
        self._deadline = deadline

    def dialog(self, scopes: Sequence[str], auth_type: str | None, state: Secret) -> str:
        """Return the address of Facebook's dialog."""
        site = self._validator.site
        return dialog_url(
            site.dialog_url,
            site.graph_version,
            client_id=site.app_id,
            redirect_uri=self._redirect_uri,
            scopes=scopes,
            auth_type=auth_type,
            state=state.reveal(),
        )

    async def let_in(self, code: Secret, asker: Asker) -> tuple[Secret, TokenInfo]:
        """Return the token for a code, and its facts; raises Refused.

        Whose token it is, and of which app, the reply to a code does not say: Graph is asked, as ever.
        """
        self._refuse_closed()
        self._validator.count(code, asker)
        try:
            async with asyncio.timeout(self._deadline):
                token = await self._look_ups.exchange(code, self._redirect_uri)
        except TimeoutError:
            token = UNAVAILABLE
        if isinstance(token, Finding):
            raise self.refusal(token)
        found = self._validator.consider(_ANY_USER, token)
        if isinstance(found, TokenInfo):
            return token, found
        return token, await self._validator.settle(_ANY_USER, token)

    async def expire(self, token: Secret) -> None:
        """End a token's session; raises StoreUnavailable."""
        self._refuse_closed()
        await self._revoker.expire(token)

    def refusal(self, finding: Finding) -> Refused:
        """Return the exception that answers a finding."""
        return self._validator.refusal(finding, ())

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._validator.now()
