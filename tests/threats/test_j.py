"""Rows J: many at once, and those who leave early. Tasks of one loop (async), threads (sync)."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.core import background
from tests.support import (
    PATIENCE,
    TOKEN,
    MovableLoop,
    in_flight,
    make_guard,
    negatives,
    positives,
    until,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


def asked(count: int, guard: Guard) -> list[asyncio.Task]:
    return [asyncio.create_task(guard.acheck(TOKEN)) for _ in range(count)]


def is_idle(guard: Guard) -> bool:
    """Tell whether nothing is pending: no flight, and no task on this loop but the one that asks."""
    return in_flight(guard) == 0 and asyncio.all_tasks() == {asyncio.current_task()}


def test_J01_herd_at_a_door(door, guard, graph):
    answers = door(guard).together(50, graph)
    assert [answer.status for answer in answers] == [200] * 50
    assert graph.calls == [TOKEN]
    wait_until(lambda: in_flight(guard) == 0)


def test_J01_500_tasks_of_one_loop(guard, graph):
    async def main() -> None:
        graph.gate.shut()
        tasks = asked(500, guard)
        await until(lambda: graph.calls)
        graph.gate.open()
        infos = await asyncio.gather(*tasks)
        assert {info.user_id for info in infos} == {"1001"}
        await until(lambda: is_idle(guard))

    asyncio.run(main())
    assert graph.calls == [TOKEN]


def test_J01_50_threads(guard, graph):
    barrier = threading.Barrier(51)
    graph.gate.shut()

    def one() -> str | None:
        barrier.wait(PATIENCE)
        return guard.check(TOKEN).user_id

    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(one) for _ in range(50)]
        barrier.wait(PATIENCE)
        graph.wait_for_calls(1)
        graph.gate.open()
        assert {future.result(PATIENCE) for future in futures} == {"1001"}
    assert graph.calls == [TOKEN]


def test_J02_first_asker_cancelled(guard, graph):
    async def main() -> None:
        graph.gate.shut()
        first, *others = asked(1000, guard)
        await until(lambda: graph.calls)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        graph.gate.open()
        infos = await asyncio.gather(*others)
        assert {info.user_id for info in infos} == {"1001"}
        await until(lambda: is_idle(guard))

    asyncio.run(main())
    assert graph.calls == [TOKEN]


@pytest.mark.parametrize("kind", ["asgi", "starlette"])
def test_J02_first_asker_cancelled_at_an_asgi_door(make_door, guard, graph, kind):
    behind = make_door(kind, guard)

    async def main() -> None:
        graph.gate.shut()
        first, *others = [asyncio.create_task(behind.asend(TOKEN)) for _ in range(50)]
        await until(lambda: graph.calls)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        graph.gate.open()
        answers = await asyncio.gather(*others)
        assert [answer.status for answer in answers] == [200] * 49
        await until(lambda: is_idle(guard))

    asyncio.run(main())
    assert graph.calls == [TOKEN]


def test_J02_first_asker_of_the_background_loop_cancelled(guard, graph):
    graph.gate.shut()
    first = background.submit(guard.acheck(TOKEN))
    graph.wait_for_calls(1)
    with ThreadPoolExecutor(20) as pool:
        others = [pool.submit(guard.check, TOKEN) for _ in range(20)]
        assert first.cancel()
        graph.gate.open()
        assert {future.result(PATIENCE).user_id for future in others} == {"1001"}
    assert graph.calls == [TOKEN]
    wait_until(lambda: in_flight(guard) == 0)


def test_J03_everybody_cancelled_then_a_new_request(guard, graph):
    async def main() -> None:
        graph.gate.shut()
        tasks = asked(3, guard)
        await until(lambda: graph.calls)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = asyncio.create_task(guard.acheck(TOKEN))
        await asyncio.sleep(0)
        graph.gate.open()
        assert (await asyncio.wait_for(late, PATIENCE)).user_id == "1001"
        assert (await guard.acheck(TOKEN)).user_id == "1001"
        await until(lambda: is_idle(guard))

    asyncio.run(main())
    assert graph.calls == [TOKEN]


def test_J03_everybody_cancelled_then_a_new_thread(guard, graph):
    graph.gate.shut()
    gone = background.submit(guard.acheck(TOKEN))
    graph.wait_for_calls(1)
    assert gone.cancel()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(guard.check, TOKEN)
        graph.gate.open()
        assert late.result(PATIENCE).user_id == "1001"
    wait_until(lambda: in_flight(guard) == 0)


@pytest.mark.parametrize(
    "fault",
    [httpx.ConnectError("refused"), RuntimeError("a bug"), OSError(), asyncio.CancelledError()],
    ids=repr,
)
def test_J04_exception_in_flight(door, guard, graph, fault):
    graph.replies[TOKEN] = fault
    behind = door(guard)
    answers = behind.together(20, graph)
    assert {(answer.status, answer.reason, answer.ran) for answer in answers} == {(503, "unavailable", False)}
    assert all(int(answer.header("retry-after")) >= 1 for answer in answers)
    assert positives(guard) == negatives(guard) == 0
    wait_until(lambda: in_flight(guard) == 0)
    failed = len(graph.calls)
    del graph.replies[TOKEN]
    assert behind.send(TOKEN).status == 200  # the next call tries again
    assert len(graph.calls) == failed + 1


def test_J04_one_failure_is_shared_by_its_flight(guard, graph):
    graph.replies[TOKEN] = httpx.ReadError("reset")

    async def main() -> None:
        graph.gate.shut()
        tasks = asked(100, guard)
        await until(lambda: graph.calls)
        graph.gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {getattr(outcome, "reason", None) for outcome in outcomes} == {"unavailable"}
        assert len({id(outcome) for outcome in outcomes}) == 100  # no exception object is shared
        await until(lambda: is_idle(guard))

    asyncio.run(main())
    assert graph.calls == [TOKEN]


def test_J05_late_joiner_has_its_own_deadline(guard, graph):
    """Joined at 2.9 s of 3: when the flight runs out the joiner leads the next one and is answered."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        graph.gate.shut()
        (early,) = asked(1, guard)
        await until(lambda: graph.calls)
        loop.advance(2.9)
        (late,) = asked(1, guard)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(graph.calls) == 1
        loop.advance(0.2)
        with pytest.raises(Refused) as refused:
            await early
        assert refused.value.reason == "unavailable"
        await until(lambda: len(graph.calls) == 2)
        graph.gate.open()
        assert (await late).user_id == "1001"
        await until(lambda: is_idle(guard))

    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        runner.run(main())


def test_J05_late_joiner_leads_once_only(guard, graph):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        graph.gate.shut()
        asked(1, guard)[0].add_done_callback(lambda task: task.exception())
        await until(lambda: graph.calls)
        loop.advance(2.9)
        (late,) = asked(1, guard)
        await asyncio.sleep(0)
        loop.advance(0.2)
        await until(lambda: len(graph.calls) == 2)
        loop.advance(2.9)
        with pytest.raises(Refused):
            await late  # at its own deadline, 3 s after it came
        assert len(graph.calls) == 2
        loop.advance(3)
        await until(lambda: is_idle(guard))

    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        runner.run(main())


def test_J05_late_joiner_in_a_thread(graph, monkeypatch):
    loop = MovableLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    monkeypatch.setattr(background, "_loop", loop)
    try:
        with make_guard(graph) as guard, ThreadPoolExecutor(2) as pool:
            graph.gate.shut()
            early = pool.submit(guard.check, TOKEN)
            graph.wait_for_calls(1)
            loop.advance(2.9)
            late = pool.submit(guard.check, TOKEN)
            flight = next(iter(guard._look_ups._local._by_loop[loop].flights._flights.values()))
            wait_until(lambda: len(flight._waiting) == 2)
            loop.advance(0.2)
            assert getattr(early.exception(PATIENCE), "reason", None) == "unavailable"
            graph.wait_for_calls(2)
            graph.gate.open()
            assert late.result(PATIENCE).user_id == "1001"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
