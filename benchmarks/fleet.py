"""What a shared store is worth: ``python -m benchmarks.fleet``.

The same users come to every worker, in an order of its own. Counted is what Graph is asked, with and
without a store; timed is a verdict from memory, from the store and from Graph, one after the other in one
process. Graph is a process of its own on loopback that answers after 50 ms; so is Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import fbguard
from benchmarks import graph
from benchmarks.graph import APP_ID, DELAY, GraphProcess, make_token, user_of
from fbguard import Guard
from fbguard.stores.protocol import Store
from fbguard.stores.redis import RedisStore
from fbguard.stores.sqlite import SQLiteStore
from tests.redis_servers import RedisServer

_SECRET: Final = "0123456789abcdef0123456789abcdef"
_FIRST_USER: Final = 200_000_000_000
_AT_ONCE: Final = 10  # of one worker: that two cores are not the subject
_NONE, _REDIS, _SQLITE = "no store", "Redis", "SQLite"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is; ``name`` says what it is, ``where`` a URL or a path."""

    name: str
    where: str = ""

    def open(self) -> Store | None:
        """Return a store of this process."""
        if self.name == _NONE:
            return None
        return RedisStore(self.where) if self.name == _REDIS else SQLiteStore(self.where)


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does; ``seed`` is its own order of the users."""

    place: Place
    graph_url: str
    users: range
    seed: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """What came of it: Graph's calls, seconds, and answers that were another user's."""

    place: Place
    calls: int
    seconds: float
    wrong: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one kind of verdict, in microseconds."""

    name: str
    p50: float
    p99: float


def make_guard(place: Place, graph_url: str) -> Guard:
    """Return a guard as a worker has one."""
    return Guard(
        app_id=APP_ID,
        app_secret=_SECRET,
        graph_url=graph_url,
        store=place.open(),
        deadline=30.0,
        max_queued=100_000,
    )


def be_worker(work: Work) -> int:
    """Ask for every user once; returns how many answers were wrong."""
    numbers = list(work.users)
    random.Random(work.seed).shuffle(numbers)
    return asyncio.run(_ask_all(work, numbers))


async def _ask_all(work: Work, numbers: Sequence[int]) -> int:
    waiting = iter(numbers)
    async with make_guard(work.place, work.graph_url) as guard:
        return sum(await asyncio.gather(*(_ask(guard, waiting) for _ in range(_AT_ONCE))))


async def _ask(guard: Guard, numbers: Iterator[int]) -> int:
    wrong = 0
    for number in numbers:
        token = make_token(number)
        info = await guard.acheck(token)
        wrong += info.user_id != user_of(token)
    return wrong


def run_fleet(process: GraphProcess, place: Place, *, users: range, workers: int) -> Fleet:
    """Let all users come to all workers."""
    process.take_counts()
    works = [Work(place, process.url, users, seed) for seed in range(workers)]
    begun = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        wrong = sum(pool.map(be_worker, works, chunksize=1))
    return Fleet(place, process.take_counts().tokens, time.perf_counter() - begun, wrong)


async def latencies(process: GraphProcess, place: Place, *, users: range) -> list[Latency]:
    """Time a miss, what another worker has found, and what is in memory, for each user."""
    found: list[Latency] = []
    async with make_guard(place, process.url) as first, make_guard(place, process.url) as second:
        await first.acheck(make_token(users.start))  # connections
        await second.acheck(make_token(users.start))
        rest = users[1:]
        found.append(await _timed(f"miss, {place.name}", first.acheck, rest))
        if place.name != _NONE:
            found.append(await _timed(f"hit in {place.name}", second.acheck, rest))
        found.append(await _timed(f"hit in memory, {place.name}", first.acheck, rest))
    return found


async def _timed(name: str, check: Callable[[str], object], users: Sequence[int]) -> Latency:
    taken: list[float] = []
    for number in users:
        token = make_token(number)
        begun = time.perf_counter()
        await check(token)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
        taken.append((time.perf_counter() - begun) * 1e6)
    taken.sort()
    return Latency(name, taken[len(taken) // 2], taken[len(taken) * 99 // 100])


@contextmanager
def places() -> Generator[list[Place]]:
    """Give all places for a store; what was started ends with the block."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        yield [Place(_NONE), Place(_REDIS, server.url), Place(_SQLITE, str(Path(folder) / "fbguard.db"))]


def report(
    fleets: Sequence[Fleet], found: Mapping[str, Sequence[Latency]], *, users: int, workers: int
) -> None:
    """Print the two tables."""
    print(f"\n{users:,} users seen by {workers} workers")
    print(f"{'':<12}{'Graph calls':>12}{'a user':>9}{'seconds':>9}{'wrong':>7}")
    for one in fleets:
        print(
            f"{one.place.name:<12}{one.calls:>12,}{one.calls / users:>9.3f}{one.seconds:>9.1f}{one.wrong:>7}"
        )
    base = found[_NONE][-1].p50
    print(f"\none verdict, one after the other (Graph answers after {DELAY * 1000:.0f} ms)")
    print(f"{'':<28}{'p50 us':>10}{'p99 us':>10}{'x memory':>10}")
    for rows in found.values():
        for row in rows:
            print(f"{row.name:<28}{row.p50:>10.1f}{row.p99:>10.1f}{row.p50 / base:>10.1f}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--timed", type=int, default=500, help="verdicts of each kind that are timed")
    given = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} processors"
    print(f"fbguard {fbguard.__version__}, Python {platform.python_version()}, {machine}")
    fleets: list[Fleet] = []
    found: dict[str, list[Latency]] = {}
    with graph.running() as process, places() as all_places:
        for number, place in enumerate(all_places):
            start = _FIRST_USER + 10_000_000 * number
            users = range(start, start + given.users)
            fleets.append(run_fleet(process, place, users=users, workers=given.workers))
            timed = range(start + 5_000_000, start + 5_000_000 + given.timed + 1)
            found[place.name] = asyncio.run(latencies(process, place, users=timed))
    report(fleets, found, users=given.users, workers=given.workers)


if __name__ == "__main__":
    main()
