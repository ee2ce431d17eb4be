"""Many askers at once, in coroutines or threads, with or without busy threads beside them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import math
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.graph import Counts, GraphProcess, user_of
from benchmarks.lookups import AsyncAsk, AsyncWay, SyncAsk, SyncWay

_BLOCK: Final = 100_000  # bytes; their hash takes a fraction of a millisecond
_MILLISECONDS: Final = 1e3
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Slice:
    """What one way did in one round.

    ``p50`` and ``p99`` are milliseconds per look-up, ``cpu`` microseconds of this process per token, the
    busy threads' own not counted. ``failed`` look-ups got no verdict.
    """

    rate: float  # verdicts per second
    p50: float
    p99: float
    cpu: float
    failed: int
    counts: Counts
    why: str = ""  # the last of them failed


@dataclass(slots=True)
class _Watch:
    """What is noted while the askers are at it."""

    seconds: list[float] = field(default_factory=list[float])
    failed: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    why: Exception | None = None

    def note(self, began: float, token: str, user: str | None) -> None:
        """Note a verdict; raises RuntimeError if it is a wrong one."""
        self.seconds.append(time.perf_counter() - began)
        if user != user_of(token):
            raise RuntimeError(f"{user} is not the user of {token}")

    def lose(self, why: Exception) -> None:
        """Note a look-up without a verdict."""
        self.failed += 1
        self.why = why


@dataclass(frozen=True, slots=True)
class Busy:
    """How many threads compute beside the askers, in C code (which lets go of the interpreter) or Python."""

    threads: int = 0
    in_python: bool = False


class _Computing:
    """Threads that compute all the time."""

    def __init__(self, busy: Busy) -> None:
        self._over = False
        compute = self._in_python if busy.in_python else self._in_c
        self._threads = [threading.Thread(target=compute, daemon=True) for _ in range(busy.threads)]
        for thread in self._threads:
            thread.start()

    def _in_c(self) -> None:
        block = bytes(_BLOCK)
        while not self._over:
            hashlib.sha256(block).digest()

    def _in_python(self) -> None:
        total = 0
        while not self._over:
            for number in range(1000):
                total += number * number

    def cpu(self) -> float:
        """Return the seconds of CPU that they have had."""
        clocks = [time.pthread_getcpuclockid(thread.ident or 0) for thread in self._threads]
        return sum(map(time.clock_gettime, clocks))

    def stop(self) -> None:
        """End the threads."""
        self._over = True
        for thread in self._threads:
            thread.join()


@contextmanager
def _watched(watch: _Watch, busy: Busy) -> Generator[None]:
    gc.collect()
    computing = _Computing(busy)
    try:
        cpu, wall = time.process_time() - computing.cpu(), time.perf_counter()
        yield
        watch.wall = time.perf_counter() - wall
        watch.cpu = time.process_time() - computing.cpu() - cpu
    finally:
        computing.stop()


def in_coroutines(
    way: AsyncWay,
    graph: GraphProcess,
    warm_up: Sequence[str],
    tokens: Sequence[str],
    *,
    askers: int,
    busy: Busy,
) -> Slice:
    """Look tokens up on a loop of its own, ``askers`` at once; the warm-up is not counted."""

    async def run() -> Slice:
        async with way.open(graph.url) as ask:
            await _crowd(ask, warm_up, askers, _Watch())
            graph.take_counts()
            watch = _Watch()
            with _watched(watch, busy):
                await _crowd(ask, tokens, askers, watch)
            return _slice(way.name, watch, graph.take_counts())

    return asyncio.run(run())


async def _crowd(ask: AsyncAsk, tokens: Sequence[str], askers: int, watch: _Watch) -> None:
    left = iter(tokens)

    async def asker() -> None:
        for token in left:  # all askers draw from one iterator
            began = time.perf_counter()
            try:
                user = await ask(token)
            except Exception as exc:  # noqa: BLE001 - a refusal, a time-out: no verdict
                watch.lose(exc)
            else:
                watch.note(began, token, user)

    await asyncio.gather(*(asker() for _ in range(askers)))


def in_threads(
    way: SyncWay,
    graph: GraphProcess,
    warm_up: Sequence[str],
    tokens: Sequence[str],
    *,
    askers: int,
    busy: Busy,
) -> Slice:
    """Look tokens up in ``askers`` threads; the warm-up is not counted."""
    with ThreadPoolExecutor(askers) as pool, way.open(graph.url) as ask:
        _throng(pool, ask, warm_up, askers, _Watch())
        graph.take_counts()
        watch = _Watch()
        with _watched(watch, busy):
            _throng(pool, ask, tokens, askers, watch)
        return _slice(way.name, watch, graph.take_counts())


def _throng(
    pool: ThreadPoolExecutor, ask: SyncAsk, tokens: Sequence[str], askers: int, watch: _Watch
) -> None:
    left, lock = iter(tokens), threading.Lock()

    def asker() -> None:
        while True:
            with lock:
                token = next(left, None)
            if token is None:
                return
            began = time.perf_counter()
            try:
                user = ask(token)
            except Exception as exc:  # noqa: BLE001 - as above
                with lock:
                    watch.lose(exc)
            else:
                watch.note(began, token, user)

    for done in [pool.submit(asker) for _ in range(askers)]:
        done.result()


def _slice(name: str, watch: _Watch, counts: Counts) -> Slice:
    """Return the figures; raises RuntimeError where there is nothing to have figures of."""
    if not watch.seconds:
        raise RuntimeError(f"{name}: no look-up got a verdict") from watch.why
    if counts.tokens < len(watch.seconds):
        raise RuntimeError(f"{name}: verdicts came without asking Graph")
    ordered = sorted(watch.seconds)
    return Slice(
        rate=len(ordered) / watch.wall,
        p50=percentile(ordered, 0.5) * _MILLISECONDS,
        p99=percentile(ordered, 0.99) * _MILLISECONDS,
        cpu=watch.cpu / (len(ordered) + watch.failed) * _MICROSECONDS,
        failed=watch.failed,
        counts=counts,
        why="" if watch.why is None else type(watch.why).__name__,
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the least value that at least ``part`` of the values do not exceed."""
    return ordered[max(math.ceil(part * len(ordered)), 1) - 1]
