"""Asking Graph about a token, with all that keeps both sides well: governor, credentials, batches."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from fbguard import events
from fbguard.core.clock import Clock
from fbguard.core.credentials import LIMITED_LOGIN, is_id_token
from fbguard.core.errors import OAuthException
from fbguard.core.governor import Governor
from fbguard.core.pace import USED_UP
from fbguard.core.reasons import Finding, is_dont_know
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.events import Tell
from fbguard.facebook.connection import Connection
from fbguard.facebook.credentials import Credentials
from fbguard.facebook.graph import Client, Graph, Outcome
from fbguard.facebook.line import Line
from fbguard.facebook.usage import Usage

if TYPE_CHECKING:
    from fbguard.facebook.id_tokens import IdTokens

logger = logging.getLogger("fbguard")

T = TypeVar("T")
F = TypeVar("F", bound=TokenInfo | Finding)

_MISCONFIGURED: Final = "misconfigured"
_MINUTE: Final = 60.0  # seconds
_ALONE: Final = _MINUTE  # for which tokens are asked for one by one, when Graph refuses a batch
_OTHER_APP: Final = 100  # the code of "did not match the Viewing App"; a "Native" app gets it for every token
_MANY_FOREIGN: Final = 20  # of them in a row


class Upstream:
    """Facebook as the validator knows it: one question, facts or a don't-know. Shared by all loops.

    ``batch`` lets look-ups for which there are too few slots share one call; ``id_tokens`` verifies those
    of Limited Login, which Graph does not know.
    """

    def __init__(
        self,
        graph: Graph,
        governor: Governor,
        credentials: Credentials,
        clock: Clock,
        *,
        batch: bool,
        id_tokens: IdTokens | None = None,
        tell: Tell = events.log,
    ) -> None:
        self._id_tokens = id_tokens
        self._graph = graph
        self._governor = governor
        self._credentials = credentials
        self._clock = clock
        self._batch = batch
        self._tell = tell
        self._alone_until = self._foreign_said = -math.inf  # monotonic seconds
        self._foreign = 0  # in a row
        self._state: tuple[str | None, float] = (None, 0.0)

    @property
    def trouble(self) -> tuple[str | None, float]:
        """The reason of the last don't-know, None once Graph has answered, and since when (wall time)."""
        return self._state

    @property
    def in_flight(self) -> int:
        """How many calls of Graph are under way."""
        return self._governor.in_flight

    def connect(self, client: Client) -> Connection:
        """Return what the running loop needs for :meth:`look_up`; ``client`` belongs to that loop."""
        call = partial(self._call_for_all, client)
        return Connection(client, Line(self._governor, call) if self._batch else None)

    async def look_up(self, here: Connection, token: Secret, fingerprint: str) -> Outcome:
        """Find out about a token; what is no answer about it is a Finding. No deadline of its own."""
        if is_id_token(token):
            if self._id_tokens is None:
                return LIMITED_LOGIN
            return await self._id_tokens.look_up(here, token, fingerprint)
        return await self._by_credential(here, partial(self._ask, here, token, fingerprint))

    async def _by_credential(self, here: Connection, ask: Callable[[], Awaitable[T]]) -> T | Finding:
        """Ask for what needs a credential of ours; if Graph refuses that, find out whose fault it is."""
        if self._credentials.are_refused and not self._credentials.claim_try():
            return self._misconfigured(None, None)
        credential = self._credentials.current
        outcome = await ask()
        if isinstance(outcome, Finding) and outcome.blames_us:
            await self._find_out(here, credential)
            if self._credentials.current is not credential:
                outcome = await ask()
        if isinstance(outcome, Finding) and outcome.blames_us:
            if not self._credentials.are_refused:
                return replace(outcome, blames_us=False)  # about this token, after all: no trouble of Graph's
            self._note(_MISCONFIGURED)
            return self._misconfigured(outcome.code, outcome.subcode)
        return outcome

    def _misconfigured(self, code: int | None, subcode: int | None) -> Finding:
        wait = max(math.ceil(self._credentials.seconds_to_probe()), 1)
        return Finding(_MISCONFIGURED, code, subcode, retry_after=wait)

    async def revoke(
        self, here: Connection, token: Secret, user: str, proof: Mapping[str, str]
    ) -> OAuthException | Finding | None:
        """End all tokens of a person for the app at Facebook; None when it is done, else why it is not."""
        if is_id_token(token):
            return LIMITED_LOGIN
        return await self._in_a_slot(partial(self._revoke, here.client, token, user, proof))

    async def _revoke(
        self, client: Client, token: Secret, user: str, proof: Mapping[str, str]
    ) -> OAuthException | Finding | None:
        era = self._governor.era
        with self._counted():
            said = await self._graph.revoke(client, token, user, proof)
        self._heed([_finding_of(said)], Usage(), era)
        return said

    async def exchange(self, here: Connection, code: Secret, redirect_uri: str) -> Secret | Finding:
        """Exchange a code of the login dialog for a token; a Finding says why there is none."""
        call = partial(self._exchange, here.client, code, redirect_uri)
        return await self._by_credential(here, partial(self._in_a_slot, call))

    async def _exchange(self, client: Client, code: Secret, redirect_uri: str) -> Secret | Finding:
        credential, era = self._credentials.current, self._governor.era
        with self._counted():
            found, usage = await self._graph.exchange(client, credential, code, redirect_uri)
        wait = self._heed([found], usage, era)
        return found if isinstance(found, Secret) else _with_wait(found, wait)

    # -- the call -----------------------------------------------------------------------------------------

    async def _ask(self, here: Connection, token: Secret, fingerprint: str) -> Outcome:
        if here.line is not None and self._clock.monotonic() >= self._alone_until:
            outcome = await here.line.ask(token, fingerprint)
            if outcome is not None:
                return outcome
        return await self._ask_alone(here.client, token, fingerprint)

    async def _ask_alone(self, client: Client, token: Secret, fingerprint: str) -> Outcome:
        return await self._in_a_slot(partial(self._call, client, token, fingerprint))

    async def _in_a_slot(self, call: Callable[[], Awaitable[T]]) -> T | Finding:
        """Make a call in its turn, or return why it is not made."""
        async with self._governor.slot() as refused:
            held = refused or await self._governor.clearance()
            return held or await call()

    async def _call(self, client: Client, token: Secret, fingerprint: str) -> Outcome:
        credential, era = self._credentials.current, self._governor.era
        with self._counted():
            outcome, usage = await self._graph.debug_token(client, credential, token, fingerprint)
        wait = self._heed([outcome], usage, era)
        return _with_wait(outcome, wait)

    async def _call_for_all(
        self, client: Client, asked: Sequence[tuple[Secret, str]]
    ) -> list[Outcome | None]:
        """Ask about several tokens in one call, with a slot held; None where one must be asked for alone."""
        if len(asked) == 1:
            return [await self._call(client, *asked[0])]
        credential, era = self._credentials.current, self._governor.era
        with self._counted():
            outcomes, usage = await self._graph.debug_tokens(client, credential, asked)
        if outcomes is None:
            self._alone_until = self._clock.monotonic() + _ALONE
            self._tell(events.BatchesRefused())
            return [None] * len(asked)
        if isinstance(outcomes, Finding):
            outcomes = [outcomes] * len(asked)
        wait = self._heed([one for one in outcomes if one is not None], usage, era)
        return [None if one is None else _with_wait(one, wait) for one in outcomes]

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Count a call that is cancelled as not answered: for all that anybody knows, time ran out.

        Not one that began late: who has waited long in our own line may have left it no time.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            yield
        except asyncio.CancelledError:
            if loop.time() - start >= self._governor.patience / 2:
                self._governor.failed()
                # Later: what is handled here has the client's frames, and whoever is told would see them.
                loop.call_soon(self._note, "unavailable", context=Context())
            raise

    def _heed(self, outcomes: Sequence[Outcome | Secret], usage: Usage, era: int) -> int | None:
        """Tell the governor how a call went; return the seconds that whoever is throttled should wait.

        What Graph says about one token, be it a throttle code, says nothing about others: nobody's token can
        take the service out of rotation.
        """
        findings = [one for one in outcomes if isinstance(one, Finding)]
        about_graph = [one for one in findings if not (one.is_answer or one.blames_us)]
        throttled = next((one for one in about_graph if one.reason == "throttled"), None)
        self._count_foreign(outcomes)
        if len(findings) < len(outcomes):
            self._credentials.are_taken()
        if throttled is not None or usage.percent >= USED_UP:
            self._note("throttled")
            code = None if throttled is None else throttled.code
            return self._governor.throttled(code, usage.seconds)
        if usage.percent:
            self._governor.used(usage.percent)
        if len(about_graph) < len(outcomes):
            self._governor.answered(era)
        elif about_graph:
            self._governor.failed()
            self._note("unavailable")
        if len(findings) < len(outcomes) and self._governor.hold() is None:
            self._note(None)
        return None

    def _count_foreign(self, outcomes: Sequence[Outcome | Secret]) -> None:
        """Say so when Graph calls every token another app's: then it is the app's settings that are wrong."""
        for outcome in outcomes:
            if isinstance(outcome, TokenInfo):
                is_foreign = outcome.error is not None and outcome.error.code == _OTHER_APP
                self._foreign = self._foreign + 1 if is_foreign else 0
        now = self._clock.monotonic()
        if self._foreign >= _MANY_FOREIGN and not 0 <= now - self._foreign_said < _MINUTE:
            self._foreign_said = now
            self._tell(events.TokensOfAnotherApp(count=self._foreign))

    # -- whose fault ----------------------------------------------------------------------------------------

    async def _find_out(self, here: Connection, credential: Secret) -> None:
        """Have our own app asked for, once a minute, after Graph refused a credential; wait for the answer.

        The probe is a task of its own with a deadline of its own: it is not one caller's, and one caller's
        time is not enough for it where Graph is slow.
        """
        if here.probe.is_under_way or (
            self._credentials.current is credential and self._credentials.claim_probe()
        ):
            await here.probe.shared(partial(self._probe_once, here))

    async def _probe_once(self, here: Connection) -> None:
        is_made = False
        try:
            async with asyncio.timeout(self._governor.patience * 2), self._governor.slot() as held:
                is_made = held is None and await self._governor.clearance() is None
                if is_made:
                    await self._probe(here.client)
        except TimeoutError:
            logger.debug("the probe of the app's credential was not answered")
        finally:
            if not is_made:
                self._credentials.release_probe()

    async def _probe(self, client: Client) -> None:
        for credential in self._credentials.in_order():
            takes = await self._graph.takes(client, credential)
            if takes is None:
                return  # nobody knows: all stays as it was
            if takes:
                self._credentials.accept(credential)
                return
        self._credentials.refuse()

    def _note(self, reason: str | None) -> None:
        if reason != self._state[0]:
            self._state = (reason, self._clock.time())
            self._tell(events.GraphStateChanged(reason=reason))


def _finding_of(said: OAuthException | Finding | None) -> Finding:
    """Return how a call went that is no look-up, as the governor takes it: None is done."""
    if isinstance(said, Finding):
        return said
    reason = None if said is None else is_dont_know(said.code, transient=said.is_transient)
    return Finding(reason or "invalid_token", is_answer=reason is None)


def _with_wait(outcome: F, seconds: int | None) -> F:
    if seconds and isinstance(outcome, Finding) and outcome.reason == "throttled" and not outcome.is_answer:
        return replace(outcome, retry_after=seconds)
    return outcome
