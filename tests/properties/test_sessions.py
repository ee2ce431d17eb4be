"""One process over hours: requests, log-outs, clocks, a Graph in every mood, and a model that knows better.

The model is written from the promises alone. Of each token it knows whose it is, when it was issued (if
anybody says so), when the guard was first seen to know it, and what has ended it; from that it says who
must be accepted, who must not, and how often Graph may have been asked.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fbguard import Refused
from fbguard.core.cache import FactCache, key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from tests.support import (
    PATIENCE,
    FakeClock,
    FakeGraph,
    Gate,
    Reply,
    dead,
    envelope,
    in_flight,
    make_guard,
    negatives,
    positives,
    until,
    valid,
)

T = TypeVar("T")

TTL, NEGATIVE_TTL, NEGATIVES = 300.0, 30.0, 5
TOKENS = 40  # of one run; the cache has room for them all
DONT_KNOW = {"down": Reply(b"", 500), "throttled": envelope(4), "garbage": Reply(b"{")}
MOODS = ("valid", "dead", *DONT_KNOW)
USERS = ("1001", "1002")


@dataclass
class Fact:
    """What the guard may remember: from when, by both clocks, and for how long."""

    good: bool
    wall: float
    mono: float
    sure: bool = True  # a no may have been pushed out by others

    def age(self, clock: FakeClock) -> float:
        return max(clock.wall - self.wall, clock.mono - self.mono)

    def counts(self, clock: FakeClock) -> bool:
        return self.age(clock) < (TTL if self.good else NEGATIVE_TTL)


@dataclass
class Token:
    name: str
    user: str
    issued: int
    expires: int
    mood: str = "valid"
    fact: Fact | None = None
    seen: float | None = None  # since when it is surely known here
    carried: float | None = None  # since when it may be known here
    revoked: bool = False
    ended: bool = False  # with its user


@dataclass
class Wait:
    """Requests that wait for one slow answer."""

    token: Token
    tasks: list[asyncio.Task[str]]
    mood: str  # which Graph had when it was asked
    carried: float
    forgotten: bool = False
    left: int = 0


class SlowGraph(FakeGraph):
    """Decides at once, and holds the answer about some tokens back."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, Gate] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        gate = self.gates.get(request.url.params.get("input_token", ""))
        response = await super().handle_async_request(request)
        if gate is not None:
            await gate.passed()
        return response


class Sessions(RuleBasedStateMachine):
    tokens = Bundle("tokens")
    waits = Bundle("waits")

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.graph = FakeClock(), SlowGraph()
        self.guard = make_guard(
            self.graph, self.clock, ttl=TTL, negative_ttl=NEGATIVE_TTL, negative_cache_size=NEGATIVES,
            cache_size=TOKENS, deadline=PATIENCE,
        )  # fmt: skip
        self.runner = asyncio.Runner(debug=False)
        self.serial = itertools.count()
        self.known: list[Token] = []
        self.waiting: list[Wait] = []
        self.events: dict[str, dict[float, float]] = {
            user: {} for user in USERS
        }  # when, and when heard of first
        self.allowed_calls = 0

    def teardown(self) -> None:
        try:
            for wait in list(self.waiting):
                self._release(wait)
        finally:
            for gate in self.graph.gates.values():
                gate.open()
            left = [task for wait in self.waiting for task in wait.tasks]
            self._run(self._outcomes(left))
            self.runner.run(self.guard.aclose())
            self.runner.close()

    # -- rules ------------------------------------------------------------------------

    @rule(
        target=tokens, user=st.sampled_from(USERS), issued=st.booleans(), lives=st.sampled_from([1000, 10**6])
    )
    def log_in(self, user: str, issued: bool, lives: int) -> Token | None:
        now = int(self.clock.wall)
        token = Token(f"EAA{next(self.serial)}", user, now if issued else 0, now + lives)
        if len(self.known) < TOKENS - 1:
            self.known.append(token)
            self._tell(token)
        return token

    @rule(token=tokens, mood=st.sampled_from(MOODS))
    def graph_changes_its_mind(self, token: Token, mood: str) -> None:
        token.mood = mood
        self._tell(token)

    @rule(is_async=st.booleans())
    def everybody_calls(self, is_async: bool) -> None:
        for token in self.known:
            self.validate(token, is_async)

    @rule(token=tokens, is_async=st.booleans())
    def somebody_calls(self, token: Token, is_async: bool) -> None:
        self.validate(token, is_async)

    def validate(self, token: Token, is_async: bool) -> None:
        if token not in self.known or any(wait.token is token for wait in self.waiting):
            return
        self._calm()
        calls, fact = self._calls(token), token.fact
        token.carried = self.clock.wall if token.carried is None else min(token.carried, self.clock.wall)
        said = self._run(self._ask(token)) if is_async else self._ask_here(token)
        asked = self._calls(token) - calls
        assert asked <= (0 if self._needs_nobody(token) else 1)
        self.allowed_calls += asked
        self._judge(token, said, asked, fact)
        if asked and said not in DONT_KNOW_REASONS:
            self._landed(token, token.mood)

    @rule(target=waits, token=tokens, count=st.integers(1, 5))
    def many_wait(self, token: Token, count: int) -> Wait | None:
        if token not in self.known or any(wait.token is token for wait in self.waiting):
            return None
        if (
            token.revoked
            or token.ended
            or self._may_be_ended(token)
            or (token.fact and token.fact.counts(self.clock))
        ):
            return None  # perhaps nobody is asked
        self._calm()
        gate = self.graph.gates[token.name] = Gate()
        gate.shut()
        calls = self._calls(token)

        async def start() -> list[asyncio.Task[str]]:
            tasks = [asyncio.create_task(self._ask(token)) for _ in range(count)]
            await until(lambda: self._calls(token) > calls)
            return tasks

        wait = Wait(token, self._run(start()), token.mood, self.clock.wall)
        token.carried = self.clock.wall if token.carried is None else min(token.carried, self.clock.wall)
        self.waiting.append(wait)
        return wait

    @rule(wait=waits)
    def a_waiter_leaves(self, wait: Wait | None) -> None:
        if wait is None or wait not in self.waiting or wait.left == len(wait.tasks):
            return
        task = wait.tasks[wait.left]
        wait.left += 1
        task.cancel()
        self._run(asyncio.wait([task]))
        assert task.cancelled()

    @rule(wait=consumes(waits))
    def graph_answers(self, wait: Wait | None) -> None:
        if wait is not None and wait in self.waiting:
            self._release(wait)

    @rule(token=tokens, is_async=st.booleans())
    def expire(self, token: Token, is_async: bool) -> None:
        if is_async:
            self._run(self.guard.aexpire_session(token.name))
        else:
            self.guard.expire_session(token.name)
        token.revoked, token.fact = True, None
        self._forgotten(token)

    @rule(user=st.sampled_from(USERS), ago=st.sampled_from([0, 0, 1, 100, 600, -30]))
    def end_user(self, user: str, ago: int) -> None:
        self._end_user(user, float(int(self.clock.wall) - ago))

    @rule(user=st.sampled_from(USERS), number=st.integers(0, 5))
    def an_old_callback_is_replayed(self, user: str, number: int) -> None:
        if self.events[user]:
            self._end_user(user, list(self.events[user])[number % len(self.events[user])])

    @rule(user=st.sampled_from(USERS))
    def forget_user(self, user: str) -> None:
        self.guard.forget_user(user)
        for token in self._of(user):
            token.fact = None
            self._forgotten(token)

    @rule(seconds=st.sampled_from([1, 29, 31, 299, 301, 1001]))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-100, -3, 40, 400]))
    def the_wall_clock_is_set(self, seconds: int) -> None:
        self.clock.wall += seconds

    @rule(seconds=st.sampled_from([40, 400]))
    def the_machine_slept(self, seconds: int) -> None:
        self.clock.mono += seconds

    @rule()
    def flood(self) -> None:
        self._calm()
        for _ in range(NEGATIVES + 1):
            name = f"EAAinvented{next(self.serial)}"
            self.graph.replies[name] = dead(190)
            with pytest.raises(Refused):
                self.guard.check(name)
            self.allowed_calls += 1
        for token in self.known:
            if token.fact is not None and not token.fact.good:
                token.fact.sure = False
                token.seen = None

    # -- invariants ------------------------------------------------------------------------

    @invariant()
    def sizes(self) -> None:
        assert positives(self.guard) <= TOKENS
        assert negatives(self.guard) <= NEGATIVES
        cache: FactCache = self.guard._cache
        stored = [
            entry.info.user_id for store in (cache._good, cache._bad) for entry in store.entries.values()
        ]
        assert len(cache._users) == len(set(stored) - {None})

    @invariant()
    def no_dont_know_is_remembered(self) -> None:
        for entry in self.guard._cache._bad.entries.values():
            info: TokenInfo = entry.info
            assert not info.is_valid or 0 < info.expires <= self.clock.wall + 10_000
            assert info.error is not None or info.expires

    @invariant()
    def nothing_hangs(self) -> None:
        assert in_flight(self.guard) == len(self.waiting)

    @invariant()
    def graph_is_asked_no_more_than_needed(self) -> None:
        assert len(self.graph.calls) <= self.allowed_calls + len(self.waiting)

    @invariant()
    def nothing_that_ended_is_stored(self) -> None:
        for token in self.known:
            if token.revoked or token.ended:
                info = self.guard._cache.peek(key_of(Secret(token.name)))
                # Its tombstone may go when the token is over: then that is known, and refused for it.
                assert info is None or 0 < info.expires <= self.clock.wall

    # -- the model ------------------------------------------------------------------------

    def _of(self, user: str) -> list[Token]:
        return [token for token in self.known if token.user == user]

    def _end_user(self, user: str, at: float) -> None:
        self._run(self.guard._revoker.end_user(user, at))
        heard = self.events[user].setdefault(at, self.clock.wall)
        for token in self._of(user):
            if token.issued:
                token.ended |= token.issued <= at
            else:
                token.ended |= token.seen is not None and token.seen <= min(at, heard)
            token.fact = None
            self._forgotten(token)

    def _forgotten(self, token: Token) -> None:
        for wait in self.waiting:
            wait.forgotten |= wait.token is token

    def _landed(self, token: Token, mood: str) -> None:
        """Note what Graph has said by now; a token of an ended user is not stored."""
        if token.issued and any(token.issued <= at for at in self.events[token.user]):
            token.ended = True
        if token.revoked or token.ended:
            return
        now = self.clock.wall
        good = mood == "valid" and token.expires > now
        token.fact = Fact(good, now, self.clock.mono)
        token.seen = (now if token.seen is None else min(now, token.seen)) if good else None

    def _needs_nobody(self, token: Token) -> bool:
        """Tell whether Graph must not be asked: the verdict is here."""
        is_fresh = token.fact is not None and token.fact.sure and token.fact.counts(self.clock)
        lives = token.expires > self.clock.wall
        return is_fresh or (lives and token.revoked)

    def _judge(self, token: Token, said: str, asked: int, fact: Fact | None) -> None:
        is_fresh = fact is not None and fact.counts(self.clock) and not asked
        now = self.clock.wall if not is_fresh or fact is None else fact.wall + fact.age(self.clock)
        is_over = token.revoked or token.ended or self._is_issued_before_an_event(token)
        if said == "ok":
            assert not is_over, "an accept after its end"
            assert token.expires > now, "an accept of what has expired"
            assert is_fresh and fact is not None and fact.good if not asked else token.mood == "valid"
            return
        may_refuse = (
            is_over
            or self._may_be_ended(token)
            or token.expires <= now
            or (is_fresh and fact is not None and not fact.good)
            or (bool(asked) and token.mood != "valid")
        )
        assert may_refuse, f"{said}: a login that nobody has ended is refused"

    def _is_issued_before_an_event(self, token: Token) -> bool:
        return bool(token.issued) and any(token.issued <= at for at in self.events[token.user])

    def _may_be_ended(self, token: Token) -> bool:
        """Tell whether a token of unknown issue time may have been seen here up to an event."""
        return (
            not token.issued
            and token.carried is not None
            and any(token.carried <= min(at, heard) for at, heard in self.events[token.user].items())
        )

    def _release(self, wait: Wait) -> None:
        token = wait.token
        token.carried = min(
            token.carried or self.clock.wall, self.clock.wall
        )  # a clock set back makes it older
        self._calm()
        calls = len(self.graph.calls)
        self.graph.gates.pop(token.name).open()
        said = self._run(self._outcomes(wait.tasks))
        self._run(until(lambda: in_flight(self.guard) == len(self.waiting) - 1))
        again = len(self.graph.calls) - calls
        self.waiting.remove(wait)
        self.allowed_calls += 1 + again
        assert again <= wait.forgotten
        mood = token.mood if again else wait.mood
        heard = {one for one in said if isinstance(one, str)}
        assert len(heard) <= 1
        for one in heard:
            self._judge_waiter(wait, mood, one)
        if mood not in DONT_KNOW:
            self._landed(token, mood)

    def _judge_waiter(self, wait: Wait, mood: str, said: str) -> None:
        token = wait.token
        is_over = token.revoked or token.ended or self._is_issued_before_an_event(token)
        if said == "ok":
            assert not is_over, "a waiter was accepted after the end"
            assert mood == "valid"
            assert token.expires > self.clock.wall
        else:
            may_refuse = (
                is_over or self._may_be_ended(token) or mood != "valid" or token.expires <= self.clock.wall
            )
            assert may_refuse, f"{said}: a waiter whose login nobody has ended is refused"

    # -- doing ------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _outcomes(self, tasks: list[asyncio.Task[str]]) -> list[str | BaseException]:
        async with asyncio.timeout(2 * PATIENCE):
            return await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, token: Token) -> str:
        try:
            await self.guard.acheck(token.name)
        except Refused as refused:
            return refused.reason
        return "ok"

    def _ask_here(self, token: Token) -> str:
        try:
            self.guard.check(token.name)
        except Refused as refused:
            return refused.reason
        return "ok"

    def _calls(self, token: Token) -> int:
        return self.graph.calls.count(token.name)

    def _tell(self, token: Token) -> None:
        facts: dict[str, Any] = {"user_id": token.user, "expires_at": token.expires}
        if token.issued:
            facts["issued_at"] = token.issued
        known = {"valid": valid(**facts), "dead": dead(190, 460, **facts)}
        self.graph.replies[token.name] = (known | DONT_KNOW)[token.mood]

    def _calm(self) -> None:
        """Have the guard take Graph for well again: each request is to ask it."""
        governor = self.guard._validator._upstream._governor
        governor.answered(governor.era)


DONT_KNOW_REASONS = {"unavailable", "throttled"}

TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=int(os.environ.get("FBGUARD_EXAMPLES", "150")) // 2, stateful_step_count=40
)
