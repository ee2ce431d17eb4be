"""Rows C19, C20 and D15: facts that end while Graph is down, many that end at once, floods of calls."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
from itertools import pairwise

import httpx
import pytest

from fbguard import Refused
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from tests.support import (
    APP_ID,
    NOW,
    PATIENCE,
    TOKEN,
    FakeGraph,
    Reply,
    envelope,
    make_guard,
    negatives,
    positives,
    valid,
    wait_until,
)
from tests.test_miss_limit import send

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

TTL = 100.0
OUTAGES = {
    "down": Reply(b"", 500),
    "throttled": envelope(4),
    "garbage": Reply(b"{"),
    "no network": httpx.ReadError("reset"),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_C19_refresh_ahead_meets_outage(door, graph, clock, outage):
    """The old fact is used to its original end: not shorter, and not a moment longer."""
    with make_guard(graph, clock, ttl=TTL, refresh_ahead=0.5) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == 200
        graph.default = OUTAGES[outage]
        for age in (50, 75, 99.5):
            clock.wall, clock.mono = NOW + age, 1000.0 + age
            assert behind.send(TOKEN).status == 200
            wait_until(lambda: not guard._look_ups._refreshing)
        assert len(graph.calls) >= 2  # it was tried
        clock.advance(0.5)
        answer = behind.send(TOKEN)
        assert (answer.status, answer.ran) == (503, False)
        graph.default = valid()
        clock.advance(int(answer.header("retry-after")))
        assert behind.send(TOKEN).status == 200


@pytest.mark.parametrize("outage", OUTAGES)
def test_C19_never_past_the_tokens_own_end(door, graph, clock, outage):
    graph.default = valid(expires_at=NOW + 60)
    with make_guard(graph, clock, ttl=TTL, refresh_ahead=0.5) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == 200
        graph.default = OUTAGES[outage]
        clock.advance(59.5)
        assert behind.send(TOKEN).status == 200
        wait_until(lambda: not guard._look_ups._refreshing)
        clock.advance(0.5)
        assert behind.send(TOKEN).status == 401


class Counting(FakeGraph):
    """Knows how many calls it had at once."""

    inside = most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await super().handle_async_request(request)
        finally:
            self.inside -= 1


COUNT = 10_000


def test_C20_mass_expiry(clock):
    graph = Counting()
    tokens = [f"EAA{number}" for number in range(COUNT)]
    info = TokenInfo(app_id=APP_ID, type="USER", is_valid=True, user_id="1001", expires=NOW + 3600)

    async def main() -> None:
        async with make_guard(
            graph, clock, ttl=TTL, max_in_flight=20, max_queued=500, deadline=PATIENCE * 3
        ) as guard:
            for token in tokens:  # after an outage, say: all in one moment
                guard._validator._cache.put(key_of(Secret(token)), info, good=True)
            left = []
            clock.advance(TTL * 0.89)
            for _ in range(12):
                left.append(sum(guard.peek(token) is not None for token in tokens))
                clock.advance(TTL * 0.01)
            assert (left[0], left[-1]) == (COUNT, 0)
            assert max(before - after for before, after in pairwise(left)) < COUNT / 4  # never all at once
            outcomes = await asyncio.gather(*map(guard.acheck, tokens), return_exceptions=True)
            yes = [one for one in outcomes if isinstance(one, TokenInfo)]
            no = [one for one in outcomes if isinstance(one, Refused)]
            assert len(yes) == len(graph.calls) == 520  # who found room in the line; not a call more
            assert {one.status for one in no} == {503}
            assert len(yes) + len(no) == COUNT
            assert graph.most == 20
            assert guard.health().in_flight == 0

    asyncio.run(main())


def test_D15_malformed_tokens_cost_no_call(door, guard, graph):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    for wrong in ("EAA$", "EAA%41", "x" * 4097, f"{APP_ID}|secret", "EAA=mid=dle"):
        answer = behind.send(wrong)
        assert (answer.status, answer.ran) == (401, False)
    assert graph.calls == [TOKEN]
    assert (positives(guard), negatives(guard)) == (1, 0)


def test_D15_a_clients_budget_of_misses(door, graph, clock):
    with make_guard(graph, clock, miss_limit=(10, 60)) as guard:
        behind = door(guard)
        assert send(behind, TOKEN).status == 200
        graph.default = valid(is_valid=False)
        statuses = []
        for number in range(100):
            statuses.append(send(behind, f"EAArandom{number}").status)
            assert send(behind, TOKEN).status == 200  # who is known passes, from that address, too
        assert statuses == [401] * 9 + [429] * 91
        assert len(graph.calls) == 10


def test_D15_the_cap_on_calls(door, graph, clock):
    """One call in ten seconds, and nobody waits longer than three: the rest of the flood is 503."""
    with make_guard(graph, clock, max_calls_per_second=0.1) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == 200
        for _ in range(3):
            calls = len(graph.calls)
            for number in range(30):
                answer = behind.send(f"EAArandom{calls}-{number}")
                assert (answer.status, answer.reason, answer.challenge) == (503, "unavailable", "")
                assert 1 <= int(answer.header("retry-after")) <= 10
                assert behind.send(TOKEN).status == 200
            assert len(graph.calls) == calls
            clock.advance(10)
            assert behind.send(f"EAAlucky{calls}").status == 200
            assert len(graph.calls) == calls + 1
