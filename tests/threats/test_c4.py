"""Rows C08 to C12: sessions that end under requests, hits and look-ups."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from fbguard import Guard, Refused
from tests.revocation.calls import FORM, HOST, form, send
from tests.support import (
    NOW,
    PATIENCE,
    TOKEN,
    FakeGraph,
    Gate,
    dead,
    http_scope,
    in_flight,
    make_guard,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

USER = "1001"
WAITERS = 20
ROUNDS = 200
REASONS = {"expire": "session_invalidated", "end_user": "not_authorized"}
ISSUED = {"issued": {"issued_at": NOW - 100}, "unknown": {}}


class Heard(NamedTuple):
    """A verdict, and when it was there."""

    reason: str
    start: float
    end: float


async def ask(guard: Guard, token: str) -> Heard:
    start, reason = time.perf_counter(), "ok"
    try:
        await guard.acheck(token)
    except Refused as refused:
        reason = refused.reason
    return Heard(reason, start, time.perf_counter())


def ask_here(guard: Guard, token: str) -> Heard:
    start, reason = time.perf_counter(), "ok"
    try:
        guard.check(token)
    except Refused as refused:
        reason = refused.reason
    return Heard(reason, start, time.perf_counter())


def end(guard: Guard, how: str, token: str, at: float = NOW, user: str = USER) -> float:
    """End it, and return when that was done."""
    if how == "expire":
        guard.expire_session(token)
    elif how == "end_user":
        guard._revoker.end_user_here(user, at)
    else:
        guard.forget_user(user)
    return time.perf_counter()


def accepts_after(heard: list[Heard], ended: float) -> list[Heard]:
    return [one for one in heard if one.reason == "ok" and one.end > ended]


# -- C08 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", REASONS)
def test_C08_hit_after_revoke(door, guard, graph, clock, how):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.advance(1)
    end(guard, how, TOKEN, clock.wall)
    for _ in range(3):
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason, answer.ran) == (401, REASONS[how], False)
        assert answer.header("cache-control") == "no-store"
        assert 'error="invalid_token"' in answer.challenge
    assert graph.calls == [TOKEN]


def test_C08_hit_after_forget(door, guard, graph):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    guard.forget_user(USER)
    assert behind.send(TOKEN).status == 200
    assert graph.calls == [TOKEN, TOKEN]
    graph.default = dead(190, 458)
    guard.forget_user(USER)
    assert behind.send(TOKEN).status == 401


@pytest.mark.parametrize("how", [*REASONS, "forget_user"])
def test_C08_no_request_that_begins_afterwards_is_accepted(graph, clock, how):
    """Four threads hit without a pause while sessions end in a fifth."""
    tokens = [f"EAAround{number}" for number in range(50)]
    heard: list[list[Heard]] = [[] for _ in tokens]
    turn, over = [0], threading.Event()

    def hit(guard: Guard) -> None:
        while not over.is_set():
            number = turn[0]
            heard[number].append(ask_here(guard, tokens[number]))

    with make_guard(graph, clock) as guard, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(hit, guard) for _ in range(4)]
        ends: list[float] = []
        for number, token in enumerate(tokens):
            turn[0] = number
            user = str(1001 + number)
            graph.replies[token] = valid(user_id=user, issued_at=NOW - 1)
            wait_until(lambda number=number: heard[number])
            graph.replies[token] = dead(190, 458)
            ends.append(end(guard, how, token, user=user))
            count = len(heard[number])
            wait_until(lambda number=number, count=count: len(heard[number]) > count + 4)
        over.set()
        for future in futures:
            future.result(PATIENCE)
    for verdicts, ended in zip(heard, ends, strict=True):
        assert not [one for one in verdicts if one.reason == "ok" and one.start > ended]
        assert any(one.start > ended for one in verdicts)


# -- C09 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issued", ISSUED)
@pytest.mark.parametrize("how", REASONS)
def test_C09_revoke_during_fill(graph, clock, how, issued):
    """Whoever waits on a slow Graph when the session ends is not accepted, whatever Graph says then."""

    async def main() -> None:
        async with make_guard(graph, clock, deadline=PATIENCE) as guard:
            for number in range(ROUNDS):
                token, calls = f"EAAround{number}", len(graph.calls)
                graph.gate.shut()
                graph.default = valid(**({"issued_at": clock.wall - 10} if issued == "issued" else {}))
                tasks = [asyncio.create_task(ask(guard, token)) for _ in range(WAITERS)]
                await until(lambda calls=calls: len(graph.calls) > calls)
                clock.advance(1)
                ended = end(guard, how, token, clock.wall)
                graph.gate.open()
                heard = list(await asyncio.gather(*tasks))
                assert accepts_after(heard, ended) == []
                assert {one.reason for one in heard} == {REASONS[how]}
                assert guard.peek(token) is None
                assert in_flight(guard) == 0
                assert (await ask(guard, token)).reason == REASONS[how]

    asyncio.run(main())


@pytest.mark.parametrize("issued", ISSUED)
@pytest.mark.parametrize("how", REASONS)
def test_C09_revoke_during_fill_in_threads(graph, clock, how, issued):
    graph.default = valid(**ISSUED[issued])
    with make_guard(graph, clock, deadline=PATIENCE) as guard, ThreadPoolExecutor(WAITERS) as pool:
        for number in range(ROUNDS):
            token, calls = f"EAAround{number}", len(graph.calls)
            graph.gate.shut()
            futures = [pool.submit(ask_here, guard, token) for _ in range(WAITERS)]
            graph.wait_for_calls(calls + 1)
            clock.advance(1)
            ended = end(guard, how, token, clock.wall)
            graph.gate.open()
            heard = [future.result(PATIENCE) for future in futures]
            assert accepts_after(heard, ended) == []
            assert {one.reason for one in heard} == {REASONS[how]}
            assert guard.peek(token) is None


@pytest.mark.parametrize("how", REASONS)
@pytest.mark.parametrize("steps", range(10))
def test_C09_revoke_at_every_step_of_a_landing(graph, clock, how, steps):
    """The answer is on its way from Graph to those who wait, so many steps of the loop far."""
    graph.default = valid(issued_at=NOW - 10)

    async def main() -> None:
        async with make_guard(graph, clock, deadline=PATIENCE) as guard:
            for number in range(10):
                token, calls = f"EAAround{number}", len(graph.calls)
                graph.gate.shut()
                tasks = [asyncio.create_task(ask(guard, token)) for _ in range(WAITERS)]
                await until(lambda calls=calls: len(graph.calls) > calls)
                graph.default = valid(issued_at=clock.wall - 10)
                graph.gate.open()
                for _ in range(steps):
                    await asyncio.sleep(0)
                clock.advance(1)
                ended = end(guard, how, token, clock.wall)
                heard = list(await asyncio.gather(*tasks))
                assert accepts_after(heard, ended) == []
                assert {one.reason for one in heard} <= {"ok", REASONS[how]}
                assert guard.peek(token) is None
                assert (await ask(guard, token)).reason == REASONS[how]

    asyncio.run(main())


def test_C09_who_waits_for_a_forgotten_user_gets_the_new_answer(graph, clock):
    async def main() -> None:
        async with make_guard(graph, clock, deadline=PATIENCE) as guard:
            for number in range(ROUNDS):
                token, calls = f"EAAround{number}", len(graph.calls)
                first, second = ("ok", "not_authorized") if number % 2 else ("not_authorized", "ok")
                answers = {"ok": valid(), "not_authorized": dead(190, 458)}
                slow = _Decided(graph)
                graph.replies[token] = answers[first]
                tasks = [asyncio.create_task(ask(guard, token)) for _ in range(WAITERS)]
                await until(lambda calls=calls: len(graph.calls) > calls)
                graph.replies[token] = answers[second]
                end(guard, "forget_user", token)
                slow.open()
                heard = await asyncio.gather(*tasks)
                assert {one.reason for one in heard} == {second}
                assert len(graph.calls) == calls + 2
                assert (await ask(guard, token)).reason == second
                assert len(graph.calls) == calls + 2

    asyncio.run(main())


def test_C09_the_same_in_threads(graph, clock):
    with make_guard(graph, clock, deadline=PATIENCE) as guard, ThreadPoolExecutor(WAITERS) as pool:
        for number in range(ROUNDS):
            token, calls = f"EAAround{number}", len(graph.calls)
            slow = _Decided(graph)
            graph.replies[token] = valid()
            futures = [pool.submit(ask_here, guard, token) for _ in range(WAITERS)]
            graph.wait_for_calls(calls + 1)
            wait_until(lambda slow=slow: slow.arrived)
            graph.replies[token] = dead(190, 458)
            end(guard, "forget_user", token)
            slow.open()
            assert {future.result(PATIENCE).reason for future in futures} == {"not_authorized"}


class _Decided(Gate):
    """Lets Graph decide when a question comes in, and hold its answer back until the gate is open."""

    def __init__(self, graph: FakeGraph) -> None:
        super().__init__()
        self.shut()
        self.arrived = 0
        self._graph = graph
        graph.gate = self

    async def passed(self) -> None:
        said = dict(self._graph.replies)
        self.arrived += 1
        await super().passed()
        now = dict(self._graph.replies)
        if said != now and self.arrived == 1:  # of the first question alone
            self._graph.replies |= said
            asyncio.get_running_loop().call_soon(self._graph.replies.update, now)


# -- C10 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issued", ISSUED)
def test_C10_revoke_by_user_misses_no_token(graph, clock, issued):
    """Ten thousand tokens of one user, with two apps' guards; web and mobile are the same here."""
    mine = [f"EAAmine{number}" for number in range(10_000)]
    graph.default = valid(**ISSUED[issued])
    graph.replies["EAAyours"] = valid(user_id="2002", **ISSUED[issued])

    async def main() -> None:
        other = FakeGraph()
        other.default = valid(app_id="99", **ISSUED[issued])
        async with (
            make_guard(graph, clock, deadline=PATIENCE * 3, max_queued=10_000) as guard,
            make_guard(other, clock, app_id="99") as second,
        ):
            await asyncio.gather(*map(guard.acheck, [*mine, "EAAyours"]))
            await second.acheck(mine[0])
            assert len(guard._cache._users) == 2
            clock.advance(1)
            guard._revoker.end_user_here(USER, clock.wall)
            assert (len(guard._cache), len(guard._cache._users)) == (1, 1)
            heard = await asyncio.gather(*(ask(guard, token) for token in mine))
            assert {one.reason for one in heard} == {"not_authorized"}
            assert (await ask(guard, "EAAyours")).reason == "ok"
            assert (await ask(second, mine[0])).reason == "ok"  # of another app: its own callback says so
            second.forget_user(USER)
            assert len(second._cache._users) == 0

    asyncio.run(main())


# -- C11, C12 ------------------------------------------------------------------------------------------------


def mounted(guard: Guard) -> Callable[..., int]:
    app = guard.callbacks_asgi()

    def deauthorize(**changes: object) -> int:
        scope = http_scope("/deauthorize", "POST", [FORM, HOST])
        return asyncio.run(send(app, scope, [{"type": "http.request", "body": form(**changes)}])).status

    return deauthorize


@pytest.mark.parametrize("issued", ISSUED)
def test_C11_graph_lags_behind_a_deauthorize(door, guard, graph, clock, issued):
    graph.default = valid(**ISSUED[issued])
    behind, deauthorize = door(guard), mounted(guard)
    assert behind.send(TOKEN).status == 200
    clock.advance(2)
    assert deauthorize(issued_at=int(clock.wall)) == 200
    for _ in range(5):
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason, answer.ran) == (401, "not_authorized", False)
        clock.advance(1)


def test_C11_tokens_that_were_not_known_here(door, guard, graph, clock):
    graph.default = valid(issued_at=NOW - 100)
    behind, deauthorize = door(guard), mounted(guard)
    assert deauthorize(issued_at=NOW) == 200
    for _ in range(2):
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason) == (401, "not_authorized")
    assert graph.calls == [TOKEN]


@pytest.mark.parametrize("issued", ISSUED)
def test_C12_no_ban_for_ever(door, guard, graph, clock, issued):
    graph.default = valid(**ISSUED[issued])
    behind, deauthorize = door(guard), mounted(guard)
    assert behind.send(TOKEN).status == 200
    clock.advance(2)
    event = int(clock.wall)
    assert deauthorize(issued_at=event) == 200
    assert behind.send(TOKEN).status == 401
    clock.advance(1)
    known = {"issued_at": int(clock.wall)} if issued == "issued" else {}
    graph.replies["EAAagain"] = valid(**known)
    assert behind.send("EAAagain").status == 200
    clock.advance(1)
    assert deauthorize(issued_at=event) == 200  # Facebook, or somebody, sends it again
    assert behind.send("EAAagain").status == 200
    assert behind.send(TOKEN).status == 401


def test_C12_expire_session_ends_one_session_only(door, guard):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    guard.expire_session(TOKEN)
    assert behind.send("EAAagain").status == 200
    assert behind.send(TOKEN).status == 401
