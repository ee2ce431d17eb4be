"""What ``guard.health()`` says, and since when."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.core.health import Health
from tests.support import (
    NOW,
    TOKEN,
    FakeClock,
    FakeGraph,
    Reply,
    dead,
    envelope,
    make_guard,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

DOWN = Reply(b"", 500)
REFUSED = envelope(190, message="Invalid OAuth access token signature.")
REGAINED = '{"1001": [{"call_count": 100, "estimated_time_to_regain_access": 1}]}'


class Refusing(FakeGraph):
    """Refuses the app's credential, at the guard's probe too, while ``refuses`` is set."""

    refuses = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.refuses:
            return await super().handle_async_request(request)
        return httpx.Response(REFUSED.status, stream=httpx.ByteStream(REFUSED.body), request=request)


@pytest.fixture
def make(graph: FakeGraph, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        guards.append(make_guard(**({"graph": graph, "clock": clock} | options)))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def ask(guard: Guard, token: str = TOKEN) -> str | None:
    try:
        return guard.check(token).user_id
    except Refused as refused:
        return refused.reason


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def ok(cached: int = 0) -> Health:
    return Health("ok", None, None, 0, cached)


def test_a_new_guard(make, graph):
    guard = make()
    assert guard.health() == ok()
    assert graph.calls == []


def test_it_is_a_record(make):
    health = make().health()
    assert set(dataclasses.asdict(health)) == {"status", "reason", "since", "in_flight", "cached", "store"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        health.status = "degraded"


def test_what_is_cached(make, graph):
    guard = make()
    ask(guard)
    graph.default = dead(190)
    ask(guard, "EAAdead")
    assert guard.health() == ok(2)
    graph.default = DOWN
    ask(guard, "EAAunknown")
    assert guard.health().cached == 2


@pytest.mark.parametrize(("reply", "reason"), [(DOWN, "unavailable"), (envelope(4), "throttled")])
def test_from_a_dont_know_to_the_next_answer(make, graph, clock, reply, reason):
    guard = make()
    clock.advance(5)
    graph.default = reply
    ask(guard, "EAAcold")
    clock.advance(1)
    ask(guard, "EAAcolder")  # which Graph, if it throttles, is not asked about
    assert guard.health() == Health("degraded", reason, at(5), 0, 0)
    clock.advance(5)
    ask(guard, "EAAcoldest")
    assert guard.health() == Health("degraded", reason, at(5), 0, 0)
    graph.default = dead(190)
    clock.advance(5)
    assert guard.health().since == at(5)  # nobody has asked
    ask(guard, "EAAdead")
    assert guard.health() == ok(1)
    clock.advance(1)
    graph.default = reply
    ask(guard, "EAAagain")
    assert guard.health().since == at(17)


def test_while_nobody_may_ask(make, graph, clock):
    """A long back-off, or an open breaker, is one trouble from its beginning to its end."""
    guard = make()
    graph.default = DOWN
    for _ in range(20):
        ask(guard)
        clock.advance(0.5)
    assert guard.health() == Health("degraded", "unavailable", at(0), 0, 0)
    graph.default = valid()
    clock.advance(1)
    ask(guard)
    assert guard.health() == ok(1)


def test_misconfigured(make, clock):
    graph = Refusing()
    guard = make(graph=graph)
    clock.advance(7)
    assert ask(guard) == "misconfigured"
    clock.advance(59)
    assert ask(guard) == "misconfigured"
    assert guard.health() == Health("degraded", "misconfigured", at(7), 0, 0)
    clock.advance(1)
    assert ask(guard) == "misconfigured"
    assert guard.health().since == at(7)
    graph.refuses = False
    assert ask(guard) == "misconfigured"  # one look-up a second is tried
    clock.advance(1)
    assert ask(guard) == "1001"
    assert guard.health() == ok(1)


ABOUT_ONE = {
    "unknown code": envelope(9999),
    "unknown code, 404": envelope(803, status=404),
    "odd data": valid(is_valid="true"),
    "no data": Reply(b"{}"),
    "throttle code inside": dead(4),
    "transient code inside": dead(2),
    "unknown, inside": dead(1),
}


@pytest.mark.parametrize("reply", ABOUT_ONE.values(), ids=ABOUT_ONE)
def test_what_is_said_about_one_token_is_no_trouble(make, graph, reply):
    guard = make()
    graph.replies["EAAodd"] = reply
    assert ask(guard, "EAAodd") in {"unavailable", "throttled"}
    assert guard.health() == ok()


class Late(FakeGraph):
    """Answers about one token when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.url.params["input_token"] == "EAAlate":
            await self.now.wait()
        return response


@pytest.mark.parametrize("headers", [(), (("X-Business-Use-Case-Usage", REGAINED),)], ids=["", "named"])
def test_an_answer_to_a_call_made_before_ends_no_throttling(make, clock, headers):
    """Many calls are under way when Graph begins to throttle: what the late ones hear is of before."""

    async def main() -> None:
        graph = Late()
        guard = make(graph=graph)
        late = asyncio.create_task(guard.acheck("EAAlate"))
        await until(lambda: graph.calls)
        graph.replies["EAAfirst"] = Reply(envelope(4).body, 400, headers)
        with pytest.raises(Refused):
            await guard.acheck("EAAfirst")
        graph.now.set()
        assert (await late).user_id == "1001"  # it counts
        assert guard.health() == Health("degraded", "throttled", at(0), 0, 1)
        with pytest.raises(Refused) as refused:
            await guard.acheck("EAAnext")
        assert refused.value.reason == "throttled"
        assert refused.value.retry_after == (60 if headers else 2)
        assert len(graph.calls) == 2
        clock.advance(refused.value.retry_after)
        assert (await guard.acheck("EAAnext")).user_id == "1001"
        assert guard.health() == ok(2)
        await guard.aclose()

    asyncio.run(main())


def test_one_trouble_after_the_other(make, graph, clock):
    guard = make()
    graph.default = DOWN
    ask(guard)
    assert guard.health() == Health("degraded", "unavailable", at(0), 0, 0)
    clock.advance(3)
    graph.default = envelope(4)
    ask(guard)
    assert guard.health() == Health("degraded", "throttled", at(3), 0, 0)


def test_a_token_that_graph_blames_us_for_is_no_trouble(make, graph):
    guard = make()
    graph.replies["EAAevil"] = REFUSED
    assert ask(guard, "EAAevil") == "unavailable"
    assert guard.health() == ok()


def test_a_deadline_that_runs_out_is_trouble(make, graph):
    guard = make(deadline=0.05)
    graph.gate.shut()
    assert ask(guard) == "unavailable"
    wait_until(lambda: guard.health().in_flight == 0)
    assert guard.health().reason == "unavailable"
    graph.gate.open()
    assert ask(guard) == "1001"
    assert guard.health() == ok(1)


def test_what_is_in_flight(make, graph):
    async def main() -> None:
        guard = make(max_in_flight=2)
        graph.gate.shut()
        tasks = [asyncio.create_task(guard.acheck(f"EAA{number}")) for number in range(3)]
        await until(lambda: len(graph.calls) == 2)
        assert guard.health().in_flight == 2  # the third stands in line
        graph.gate.open()
        await asyncio.gather(*tasks)
        assert guard.health() == ok(3)
        await guard.aclose()

    asyncio.run(main())


def test_changes_are_told_once(make, graph, clock, caplog):
    caplog.set_level(logging.INFO, "fbguard")
    guard = make()
    graph.default = envelope(4)
    for _ in range(3):
        ask(guard)
        guard.health()
    graph.default = valid()
    clock.advance(2)
    ask(guard)
    guard.health()
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "fbguard"]
    assert told == [("INFO", "Graph: throttled"), ("INFO", "Graph: all is well")]


def test_a_closed_guard_may_be_asked(make):
    guard = make()
    ask(guard)
    guard.close()
    assert guard.health() == ok(1)
