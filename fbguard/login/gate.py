"""What a login needs of a guard: Facebook's dialog, a token for its code, the end of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fbguard.core.errors import Refused
from fbguard.core.limits import Asker
from fbguard.core.lookups import LookUps
from fbguard.core.reasons import Finding, may_pass
from fbguard.core.requirement import Requirement
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Validator
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.login import dialog_url
from fbguard.login.used import UsedStates
from fbguard.revocation.revoker import Revoker

_ANY_USER: Final = ((Requirement(), None),)


class Gate:
    """The part of a guard that a login uses; ``deadline`` is the seconds for each of its two calls.

    Once the guard is closed they are 503: to ask would open connections again. ``is_ours`` finds out whether
    a token is the app's, alive or not: None if nobody can tell.
    """

    def __init__(
        self,
        validator: Validator,
        look_ups: LookUps,
        revoker: Revoker,
        *,
        secrets: Sequence[Secret],
        used: UsedStates,
        is_open: Callable[[], bool],
        is_ours: Callable[[Secret], Awaitable[bool | None]],
        redirect_uri: str,
        deadline: float,
    ) -> None:
        self._validator = validator
        self._look_ups = look_ups
        self._revoker = revoker
        self.secrets = secrets
        self.used = used
        self.is_open = is_open
        self._is_ours = is_ours
        self._redirect_uri = redirect_uri
        self._deadline = deadline

    def dialog(self, scopes: Sequence[str], auth_type: str | None, state: Secret) -> Secret:
        """Return the address of Facebook's dialog."""
        site = self._validator.site
        return Secret(
            dialog_url(
                site.dialog_url,
                site.graph_version,
                client_id=site.app_id,
                redirect_uri=self._redirect_uri,
                scopes=scopes,
                auth_type=auth_type,
                state=state.reveal(),
            )
        )

    async def exchange(self, code: Secret, asker: Asker) -> Secret:
        """Return the token for a code; raises Refused."""
        self._refuse_closed()
        self._validator.charge(asker)
        try:
            async with asyncio.timeout(self._deadline):
                token = await self._look_ups.exchange(code, self._redirect_uri)
        except TimeoutError:
            token = UNAVAILABLE
        if isinstance(token, Finding):
            raise self.refusal(token)
        return token

    async def facts(self, token: Secret) -> TokenInfo | None:
        """Return the facts about a token that was just given for a code; None if nobody can tell now.

        The reply to a code does not say whose it is. Raises Refused for a definite no.
        """
        if not self.is_open():
            return None
        try:
            found = self._validator.consider(_ANY_USER, token)
            return found if isinstance(found, TokenInfo) else await self._validator.settle(_ANY_USER, token)
        except Refused as refused:
            if not may_pass(refused.reason):
                raise
        return None

    async def expire(self, token: Secret, asker: Asker) -> None:
        """End the session of a token, if it is one of the app's; raises Refused and StoreUnavailable.

        What anybody can write into a cookie must leave no tombstone: those are bounded.
        """
        self._refuse_closed()
        if self._validator.recall(token) is None:
            self._validator.charge(asker)
        is_ours = await self._is_ours(token)
        if is_ours is None:
            raise self.refusal(UNAVAILABLE)
        if is_ours:
            await self._revoker.expire(token)

    def _refuse_closed(self) -> None:
        if not self.is_open():
            raise self.refusal(UNAVAILABLE)

    def refusal(self, finding: Finding) -> Refused:
        """Return the exception that answers a finding."""
        return self._validator.refusal(finding, ())

    def now(self) -> float:
        """Return wall time in seconds."""
        return self._validator.now()
