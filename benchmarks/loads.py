"""What must hold on the miss path under load, and the figures: herd, churn, flood, outage, throttle,
overload.

Real sockets on loopback; Graph is a process of its own. Callers are tasks of one loop and threads.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, cycle
from typing import Any, Final

from benchmarks.loads_callers import (
    PATIENCE,
    Ask,
    Crowd,
    app,
    attacked,
    drop,
    good_token,
    guard_of,
    percentile,
    resident,
    seconds_of,
    send_to,
    settled,
    until,
)
from benchmarks.loads_graph import Graph
from benchmarks.loads_outcome import Outcome, outcome_of, tell
from benchmarks.loads_overload import overload
from benchmarks.requests import requests_with, scope_of
from fbguard.asgi import FBTokenMiddleware

_LEAVERS: Final = 11
_KNOWN: Final = 500  # tokens
_MEBIBYTE: Final = 2**20
_JITTER: Final = 1.25  # calls are spaced where they are made; on their way they come closer together


# -- the loads -----------------------------------------------------------------------------------------


def herd(*, requests: int) -> Outcome:
    """Let requests for one cold token meet at an ASGI door; the first and ten others leave at 50 ms."""
    with Graph(delay=0.3) as graph:
        statuses, seconds = asyncio.run(_herd(graph, requests))
        calls = len(graph.set().moments)
    figures = {"requests": requests, "calls": calls, "p99_ms": 1000 * percentile(seconds, 0.99)}
    return outcome_of(
        figures,
        {
            "one call": calls == 1,
            "the leavers left": statuses.count(0) == _LEAVERS,
            "all others are answered": statuses.count(200) == requests - _LEAVERS,
        },
    )


async def _herd(graph: Graph, requests: int) -> tuple[list[int], list[float]]:
    """Return the statuses, 0 for who left, and the seconds until each answer."""
    async with guard_of(graph, deadline=PATIENCE) as guard:
        door = FBTokenMiddleware(app, guard)
        request = requests_with(good_token("herd"))[0]
        begun = time.monotonic()
        tasks = [asyncio.create_task(send_to(door, scope_of(request))) for _ in range(requests)]
        await until(lambda: guard.health().in_flight == 1)
        await asyncio.sleep(0.05)
        for leaver in [tasks[0], *random.sample(tasks[1:], _LEAVERS - 1)]:
            leaver.cancel()
        await asyncio.wait(tasks)
    answers = [task.result() for task in tasks if not task.cancelled()]
    gone = [0 for task in tasks if task.cancelled()]
    return [*gone, *(status for status, _ in answers)], [ended - begun for _, ended in answers]


def herd_of_threads(*, threads: int) -> Outcome:
    """Let threads ask about one cold token at once."""
    with Graph(delay=0.3) as graph, guard_of(graph, deadline=PATIENCE) as guard:
        crowd, gathered = Crowd(guard), threading.Barrier(threads)

        def ask() -> Ask:
            gathered.wait(PATIENCE)
            return crowd.ask_here(good_token("herd"))

        with ThreadPoolExecutor(threads) as pool:
            asks = [future.result() for future in [pool.submit(ask) for _ in range(threads)]]
        calls = len(graph.set().moments)
    figures = {"threads": threads, "calls": calls, "p99_ms": 1000 * percentile(seconds_of(asks), 0.99)}
    return outcome_of(
        figures, {"one call": calls == 1, "all are answered": {ask.status for ask in asks} == {200}}
    )


def churn(*, clients: int) -> Outcome:
    """Drop clients at 0-60 ms while slots are contended and some calls stall; then ask in series."""
    with Graph(delay=0.03, stalls=50) as graph:
        return asyncio.run(_churn(graph, clients))


async def _churn(graph: Graph, clients: int) -> Outcome:
    slots = 10
    async with guard_of(graph, max_in_flight=slots, max_queued=100, deadline=1.0) as guard:
        dropped = await drop(guard, clients, slots)
        taken = await settled(guard)
        calls = len(graph.set(stalls=0).moments)
        asks = [await Crowd(guard).ask(good_token("cold", number)) for number in range(50)]
        lost = max(taken, await settled(guard))
        connected = graph.set().connected
    figures = {
        "clients": clients, "dropped": dropped, "calls": calls, "sockets": connected,
        "slots_lost": lost, "worst_cold_ms": 1000 * max(seconds_of(asks)),
    }  # fmt: skip
    return outcome_of(
        figures,
        {
            "clients were dropped": dropped >= clients / 2,
            "every cold token is answered": {ask.status for ask in asks} == {200},
            "no slot is lost": lost == 0,
            "no more sockets than slots": connected <= slots,
        },
    )


def flood(*, tokens: int, rate: float, attackers: int = 1000) -> Outcome:
    """Flood the guard with random tokens while 500 good ones are asked about; ``rate`` is the cap."""
    with Graph() as graph:
        return asyncio.run(_flood(graph, tokens, rate, attackers))


async def _flood(graph: Graph, tokens: int, rate: float, attackers: int) -> Outcome:
    good = [good_token("known", number) for number in range(_KNOWN)]
    options: dict[str, Any] = {"max_queued": 200, "ttl": 3600.0, "deadline": 10.0}
    async with guard_of(graph, max_calls_per_second=rate, **options) as guard:
        crowd = Crowd(guard)
        for first in range(0, _KNOWN, 100):
            await asyncio.gather(*map(guard.acheck, good[first : first + 100]))
        begun, before = time.monotonic(), resident()
        asking = asyncio.create_task(crowd.both(cycle(good), 2000))
        most = await attacked(crowd, tokens, attackers)
        took = time.monotonic() - begun
        crowd.stop()
        asks, seen, cached = await asking, graph.set(), guard.health().cached
    failed = sum(ask.status != 200 for ask in asks)
    hits = 1 - (seen.good - _KNOWN + failed) / len(asks)
    mean = sum(moment >= begun for moment in seen.moments) / took
    figures = {
        "tokens": tokens, "seconds": took, "good_asked": len(asks), "hits_percent": 100 * hits,
        "rss_growth_mib": (most - before) / _MEBIBYTE, "cached": cached, "cap": rate,
        "calls_per_second": mean, "busiest_second": seen.busiest_second,
    }  # fmt: skip
    return outcome_of(
        figures,
        {
            "hit ratio of the good": hits >= 0.999,
            "memory": most - before <= 64 * _MEBIBYTE,
            "calls a second": mean <= rate + 1 / took,
            "calls in the busiest second": seen.busiest_second <= rate * _JITTER,
        },
    )


def outage(*, seconds: float, hangs: bool = False, margin: float = 0.1) -> Outcome:
    """Kill Graph in mid-load, or let it hang, and bring it back; ``margin``: seconds beyond the deadline."""
    with Graph() as graph:
        return asyncio.run(_outage(graph, seconds, hangs, margin))


async def _outage(graph: Graph, seconds: float, hangs: bool, margin: float) -> Outcome:
    deadline = 1.0
    async with guard_of(graph, ttl=3600.0, deadline=deadline) as guard:
        crowd = Crowd(guard)
        known = [good_token("known", number) for number in range(20)]
        await asyncio.gather(*map(guard.acheck, known))
        cached = asyncio.create_task(crowd.both(cycle(known), 100))
        cold = asyncio.create_task(crowd.both((good_token("cold", number) for number in count()), 50))
        await asyncio.sleep(1)
        (graph.freeze if hangs else graph.kill)()
        down = time.monotonic()
        await asyncio.sleep(seconds)
        end = time.monotonic()
        await asyncio.to_thread(graph.thaw if hangs else graph.start)
        back = time.monotonic()
        await asyncio.sleep(3)
        crowd.stop()
        return _judge_outage(await cached, await cold, (down, end, back), deadline + margin)


def _judge_outage(
    old: Sequence[Ask], new: Sequence[Ask], moments: tuple[float, float, float], within: float
) -> Outcome:
    down, end, back = moments
    failed = [ask for ask in new if ask.status != 200]
    recovery = max([0.0, *(ask.begun - back for ask in failed)])
    worst = max(seconds_of(new))
    figures = {
        "seconds": end - down, "cached_asked": len(old), "cached_503": sum(ask.status != 200 for ask in old),
        "cold_asked": len(new), "cold_503": len(failed), "worst_cold_s": worst, "recovery_s": recovery,
    }  # fmt: skip
    return outcome_of(
        figures,
        {
            "known tokens are answered": {ask.status for ask in old} == {200},
            "others are 503 meanwhile": {a.status for a in new if a.begun >= down and a.ended <= end}
            == {503},
            "never another status": {ask.status for ask in new} == {200, 503},
            "within the deadline": worst <= within,
            "normal within 2 s": recovery <= 2 and any(ask.begun > back + 2 for ask in new),
        },
    )


def throttle(*, seconds: float) -> Outcome:
    """Ask about 50 cold tokens a second while Graph throttles, for ``seconds`` beyond the first two."""
    with Graph(throttles=True) as graph:
        return asyncio.run(_throttle(graph, seconds))


async def _throttle(graph: Graph, seconds: float) -> Outcome:
    async with guard_of(graph) as guard:
        crowd = Crowd(guard)
        known_at = time.monotonic() + 2
        cold = asyncio.create_task(crowd.both((good_token("cold", number) for number in count()), 50))
        await asyncio.sleep(2 + seconds)
        crowd.stop()
        asks = await cold
        moments = graph.set().moments
    late = sum(ask.begun >= known_at for ask in asks)
    calls = sum(moment >= known_at for moment in moments)
    figures = {"asked": len(asks), "calls": len(moments), "late_asked": late, "late_calls": calls}
    return outcome_of(
        figures,
        {
            "all are 503": {ask.status for ask in asks} == {503},
            "people went on asking": late >= 20 * seconds,
            "Graph sees a tenth at most": calls <= late / 10,
        },
    )


LOADS: Final[Mapping[str, tuple[Callable[[], Outcome], Callable[[], Outcome]]]] = {  # long, short
    "herd": (partial(herd, requests=10_000), partial(herd, requests=10_000)),
    "herd-of-threads": (partial(herd_of_threads, threads=200), partial(herd_of_threads, threads=200)),
    "churn": (partial(churn, clients=3000), partial(churn, clients=600)),
    "flood": (partial(flood, tokens=300_000, rate=500), partial(flood, tokens=5000, rate=500)),
    "outage": (partial(outage, seconds=30), partial(outage, seconds=2, margin=0.5)),
    "hang": (partial(outage, seconds=30, hangs=True), partial(outage, seconds=2, hangs=True, margin=0.5)),
    "overload": (partial(overload, seconds=20), partial(overload, seconds=3)),
    "throttle": (partial(throttle, seconds=20), partial(throttle, seconds=3)),
}


# -- the command -----------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loads", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--only", choices=LOADS, help="one load")
    given = parser.parse_args(arguments)
    names: list[str] = [given.only] if given.only else list(LOADS)
    return tell({name: LOADS[name][1 if given.short else 0] for name in names})


if __name__ == "__main__":
    sys.exit(main())
