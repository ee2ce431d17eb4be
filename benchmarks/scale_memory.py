"""What many tokens cost beside time: bytes each, and the pauses of the garbage collector."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from benchmarks.filling import KINDS, fill, token_of
from benchmarks.hit import POLICY
from benchmarks.requests import requests_with
from benchmarks.sides import WsgiSide, has_facts, wsgi_app
from benchmarks.world import world
from fbguard.wsgi import FBTokenMiddleware

FULL: Final = 2  # the oldest generation
_AT_ONCE: Final = 20  # requests
_WARM: Final = 1000  # tokens, before memory is counted: what is interned and imported is there already


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one cached token takes, whole: keys, tables and index included."""

    kind: str
    tokens: int
    each: float


@dataclass(frozen=True, slots=True)
class Pauses:
    """Milliseconds of the collector with so many tokens cached.

    ``full`` is a full collection, ``frozen`` one after ``gc.freeze()``; ``worst`` the longest pause while
    ``requests`` hits were served, ``spent`` all pauses together as a share of that time.
    """

    tokens: int
    full: float
    frozen: float
    worst: float
    spent: float
    requests: int


def bytes_per_token(kind: str, tokens: int) -> Memory:
    """Count by tracemalloc what a guard's cache grows by."""
    with world(cache_size=tokens + _WARM) as place:
        fill(place.guard, range(_WARM), kind)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            fill(place.guard, range(_WARM, _WARM + tokens), kind)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return Memory(kind, tokens, (after - before) / tokens)


def memory(tokens: int) -> list[Memory]:
    """Count for each kind of token."""
    return [bytes_per_token(kind, tokens) for kind in KINDS]


def pauses(tokens: int, requests: int) -> Pauses:
    """Measure the collector, as it is by default, in a process that remembers so many tokens."""
    with world(cache_size=tokens + 1) as place:
        fill(place.guard, range(max(tokens, 1)))
        gc.collect()
        full = _collection()
        door = FBTokenMiddleware(wsgi_app, place.guard, policy=POLICY)
        # A few at a time, as a server has them: many that wait to be served would be the collector's work.
        to_serve = requests_with(token_of(0)) * (_AT_ONCE // 2)
        with _watched() as seen:
            started = perf_counter()
            for _ in range(requests // _AT_ONCE):
                WsgiSide().serve(door, to_serve, lambda carrier: not has_facts(None)(carrier))
            seconds = perf_counter() - started
        gc.freeze()
        try:
            frozen = _collection()
        finally:
            gc.unfreeze()
    worst = max(seen, default=0.0)
    return Pauses(tokens, full * 1e3, frozen * 1e3, worst * 1e3, sum(seen) / seconds, requests)


def _collection() -> float:
    started = perf_counter()
    gc.collect(FULL)
    return perf_counter() - started


@contextmanager
def _watched() -> Generator[list[float]]:
    """Give a list that gets the seconds of each collection in the block."""
    seen: list[float] = []
    started = 0.0

    def watch(phase: str, _info: Any) -> None:
        nonlocal started
        if phase == "start":
            started = perf_counter()
        else:
            seen.append(perf_counter() - started)

    gc.callbacks.append(watch)
    try:
        yield seen
    finally:
        gc.callbacks.remove(watch)


def text(of_memory: Sequence[Memory], of_collector: Sequence[Pauses]) -> list[str]:
    """Return both tables for people."""
    lines = [f"{'bytes per cached token':<30}{'tokens':>10}{'bytes':>8}"] if of_memory else []
    lines += [f"{one.kind:<30}{one.tokens:>10,}{one.each:>8.0f}" for one in of_memory]
    if of_collector:
        lines += ["", f"{'collector, milliseconds':<24}{'full':>9}{'frozen':>9}{'worst':>9}{'share':>9}"]
    for one in of_collector:
        name = f"{one.tokens:,} tokens"
        lines.append(f"{name:<24}{one.full:>9.1f}{one.frozen:>9.1f}{one.worst:>9.1f}{one.spent:>9.1%}")
    return lines
