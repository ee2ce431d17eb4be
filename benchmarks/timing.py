"""Timing by turns. A machine's speed changes within seconds, so only ratios taken in one run count.

Every contender serves a short slice in every round, in an order that is another one each time: who comes
after whom makes a difference, because they push each other out of the processor's caches. For the same reason
each serves a few requests that do not count before those that do. The garbage collector is off while a slice
is timed and runs between the rounds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Final, Self

Slice = Callable[[int], float]  # serves that many requests; the seconds that took, without preparation

COLLECTOR: Final = "off while a slice is timed, run between the rounds"
_MICROSECONDS: Final = 1e6
_WARMING: Final = 4  # one in so many


@dataclass(frozen=True, slots=True)
class Spread:
    """Microseconds per request: the least, the median and the greatest of the rounds' means."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of some values, at least one."""
        return cls(min(values), median(values), max(values))


def interleaved(contenders: Mapping[str, Slice], *, rounds: int, requests: int) -> dict[str, Spread]:
    """Let every contender serve ``requests`` in each of ``rounds``; return what a request took."""
    means = by_rounds(contenders, rounds=rounds, requests=requests)
    return {name: Spread.of(found) for name, found in means.items()}


def by_rounds(contenders: Mapping[str, Slice], *, rounds: int, requests: int) -> dict[str, list[float]]:
    """Do so, and return the microseconds per request in each round."""
    names, dice = list(contenders), Random(requests)
    means: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        contenders[name](requests)  # not counted: the interpreter specialises code that runs often
    with _collector_off():
        for _ in range(rounds):
            gc.collect()
            dice.shuffle(names)
            for name in names:
                contenders[name](max(requests // _WARMING, 1))
                means[name].append(contenders[name](requests) / requests * _MICROSECONDS)
    return means


@contextmanager
def _collector_off() -> Generator[None]:
    was_on = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()  # what was there before is not looked at again in every round
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
