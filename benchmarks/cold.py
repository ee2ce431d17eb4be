"""What a look-up costs whose token nobody knows: ``python -m benchmarks.cold``.

Every way to ask Graph gets the same number of tokens in every round, never seen before, from many
askers at once: coroutines and threads, on an idle interpreter and beside busy threads. Graph is a process
of its own on loopback that answers late. Only ratios of one run count: a row is compared with httpx of
the same group and the same round.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import fbguard
from benchmarks import graph
from benchmarks.crowd import Busy, Slice, in_coroutines, in_threads
from benchmarks.graph import BATCH_DELAY, DELAY, GraphProcess, make_token
from benchmarks.lookups import (
    ASYNC_WAYS,
    BASE,
    BATCH,
    FBGUARD,
    NEW_CLIENT,
    SYNC_WAYS,
    AsyncWay,
    SyncWay,
    batching,
    why_no_batches,
)

IDLE, BUSY = "idle", "busy"
BATCHES_AT_ONCE: Final = (4, 8, 16, 100)  # tried, to take the best; 100 is the default

FOUR_BUSY: Final = Busy(threads=4)

_FIRST_USER: Final = 100_000_000_000
_FLOORS: Final = (  # row, compared with its base, at least
    ("fbguard as shipped, async, idle", f"async {IDLE}: {FBGUARD}", 10.0),
    ("fbguard with batches, async, idle", f"async {IDLE}: {BATCH}", 15.0),
    ("fbguard as shipped, threads beside busy ones", f"sync {BUSY}: {FBGUARD}", 1.3),
)
_SLOWEST_BATCH: Final = 3.0  # times Graph's own: the greatest p99
_COLUMNS: Final = (
    f"{'':<34}{'at most':>8}{'tokens/s':>20}{'x base':>20}{'p50':>8}{'p99':>8}"
    f"{'CPU':>7}{'calls':>7}{'at once':>8}{'failed':>7}"
)
_LEGEND: Final = (
    "min-median-max of the rounds, else medians. at most: max_in_flight, or the pool of a bare client;",
    "x base: verdicts per second over httpx's of the same group and round; p50, p99: milliseconds per",
    "look-up; CPU: microseconds of this process per token, without the busy threads; calls, at once: what",
    "Graph saw.",
)


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked: ``coroutines`` and ``threads`` are askers at once."""

    tokens: int = 2000
    rounds: int = 5
    coroutines: int = 200
    threads: int = 32
    busy: Busy = FOUR_BUSY
    busy_share: float = 0.5  # of the tokens, for rows beside busy threads: they take so long


@dataclass(frozen=True, slots=True)
class Row:
    """A contender: one way, by one kind of askers, on an idle interpreter or a busy one."""

    group: str
    way: AsyncWay | SyncWay
    busy: bool

    @property
    def name(self) -> str:
        """What it is called in the table, and for ``--only``."""
        return f"{self.group}: {self.way.name}"


Slices = Mapping[str, Sequence[Slice]]  # by row


def rows(batch: AsyncWay | None) -> list[Row]:
    """Return every row, group by group, each group's base first."""
    batches = [] if batch is None else [batch]
    found: list[Row] = []
    for state in (IDLE, BUSY):
        alone = [NEW_CLIENT] if state == IDLE else []
        found += [Row(f"async {state}", way, state == BUSY) for way in (*ASYNC_WAYS, *batches, *alone)]
    for state in (IDLE, BUSY):
        found += [Row(f"sync {state}", way, state == BUSY) for way in SYNC_WAYS]
    return found


class Cold:
    """A run: one Graph, tokens that never come twice."""

    def __init__(self, process: GraphProcess, load: Load) -> None:
        self._graph = process
        self._load = load
        self._numbers = itertools.count(_FIRST_USER)

    def slice(self, row: Row) -> Slice:
        """Let one row have its turn."""
        load, way, busy = self._load, row.way, self._load.busy if row.busy else Busy()
        count = load.tokens * (load.busy_share if row.busy else 1)
        if isinstance(way, SyncWay):
            warm, tokens = self._tokens(load.threads), self._tokens(count)
            return in_threads(way, self._graph, warm, tokens, askers=load.threads, busy=busy)
        warm, tokens = self._tokens(load.coroutines * way.share), self._tokens(count * way.share)
        return in_coroutines(way, self._graph, warm, tokens, askers=load.coroutines, busy=busy)

    def _tokens(self, count: float) -> list[str]:
        return [make_token(number) for number in itertools.islice(self._numbers, math.ceil(count))]

    def best_batching(self) -> AsyncWay:
        """Return fbguard with as many batches at once as serve best, idle."""
        ways = [batching(count) for count in BATCHES_AT_ONCE]
        rates = {way: self.slice(Row("trial", way, busy=False)).rate for way in ways}
        for way, rate in rates.items():
            print(f"trial: {BATCH}, max_in_flight={way.max_in_flight}: {rate:.0f} tokens/s")
        return max(rates, key=rates.__getitem__)

    def interleaved(self, contenders: Sequence[Row]) -> Slices:
        """Let every row have its turn in every round, another one first each time."""
        slices: dict[str, list[Slice]] = {row.name: [] for row in contenders}
        for number in range(self._load.rounds):
            first = number % len(contenders)
            for row in (*contenders[first:], *contenders[:first]):
                slices[row.name].append(self.slice(row))
        return slices


def measure(load: Load, wanted: Callable[[str], bool] = lambda _name: True) -> tuple[list[Row], Slices]:
    """Run the rows that are wanted; raises ValueError if there are none."""
    lack = why_no_batches()
    with graph.running() as process:
        run = Cold(process, load)
        batch = None
        if lack is not None:
            print(f"skipped: {BATCH}: {lack}")
        elif any(wanted(f"async {state}: {BATCH}") for state in (IDLE, BUSY)):
            batch = run.best_batching()
        contenders = [row for row in rows(batch) if wanted(row.name)]
        if not contenders:
            raise ValueError("no row has such a name")
        return contenders, run.interleaved(contenders)


def ratios(slices: Slices, name: str) -> list[float] | None:
    """Return a row's rate over its base's, round by round; None where the base was not measured."""
    base = slices.get(f"{name.partition(':')[0]}: {BASE}")
    if base is None or name not in slices:
        return None
    return [one.rate / other.rate for one, other in zip(slices[name], base, strict=True)]


def table(contenders: Sequence[Row], slices: Slices) -> Iterator[str]:
    """Give the lines of the table."""
    yield _COLUMNS
    for row in contenders:
        found = slices[row.name]
        compared = ratios(slices, row.name)
        limit = "-" if row.way.max_in_flight is None else str(row.way.max_in_flight)
        yield (
            f"{row.name:<34}{limit:>8}{_spread([one.rate for one in found], 0):>20}"
            f"{'-' if compared is None else _spread(compared, 2):>20}"
            f"{median(one.p50 for one in found):8.0f}{median(one.p99 for one in found):8.0f}"
            f"{median(one.cpu for one in found):7.0f}{median(one.counts.calls for one in found):7.0f}"
            f"{max(one.counts.peak_calls for one in found):8}{sum(one.failed for one in found):7}"
        )
    for name, found in slices.items():
        causes = sorted({one.why for one in found if one.why})
        if causes:
            yield f"{name}: look-ups failed by {', '.join(causes)}"
    yield from ("", *_LEGEND)


def _spread(values: Sequence[float], digits: int) -> str:
    return "-".join(f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))


def targets(slices: Slices) -> Iterator[str]:
    """Give a line for every target: met, not met or not measured."""
    for what, name, least in _FLOORS:
        compared = ratios(slices, name)
        found = None if compared is None else median(compared)
        met = found is not None and found >= least
        yield _verdict(f"{what}: at least {least:g} x {BASE}", found, met=met, unit="x")
    batched = slices.get(f"async {IDLE}: {BATCH}")
    most = _SLOWEST_BATCH * BATCH_DELAY * 1000
    slowest = None if batched is None else median(one.p99 for one in batched)
    met = slowest is not None and slowest <= most
    yield _verdict(
        f"fbguard with batches, async, idle: p99 at most {most:.0f} ms", slowest, met=met, unit="ms"
    )


def _verdict(target: str, found: float | None, *, met: bool, unit: str) -> str:
    if found is None:
        return f"not measured  {target}"
    return f"{'met' if met else 'not met':<14}{target} (median {found:.1f} {unit})"


def chosen(only: Sequence[str] | None) -> Callable[[str], bool]:
    """Return what ``--only`` wants: the row of exactly that name, else all that have it in theirs."""
    if only is None:
        return lambda _name: True
    names = [row.name for row in rows(batching(BATCHES_AT_ONCE[0]))]
    wanted = {name for part in only for name in ([part] if part in names else names) if part in name}
    return wanted.__contains__


def heading(load: Load) -> str:
    """Return what was run, where."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    computing = f"{load.busy.threads} threads that compute in {'Python' if load.busy.in_python else 'C'}"
    return (
        f"fbguard {fbguard.__version__}, {python}, {os.cpu_count()} processors\n"
        f"{load.rounds} rounds of {load.tokens} cold tokens per row, by turns; "
        f"{load.coroutines} coroutines or {load.threads} threads ask\n"
        f"busy: x {load.busy_share:g} of the tokens, beside {computing}\n"
        f"Graph answers after {DELAY * 1000:.0f} ms, a batch after {BATCH_DELAY * 1000:.0f} ms"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    load = Load()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--tokens", type=_count, default=load.tokens, help="of one turn of a row")
    parser.add_argument("--rounds", type=_count, default=load.rounds, help="how often each row has its turn")
    parser.add_argument(
        "--only", action="append", metavar="ROW", help="run the rows whose name holds this; repeatable"
    )
    parser.add_argument(
        "--busy", choices=("c", "python"), default="c", help="what busy threads run; python ties all up"
    )
    given = parser.parse_args(arguments)
    load = Load(given.tokens, given.rounds, busy=Busy(load.busy.threads, given.busy == "python"))
    print(heading(load), flush=True)
    try:
        contenders, slices = measure(load, chosen(given.only))
    except ValueError as exc:
        parser.error(str(exc))
    for line in ("", *table(contenders, slices), "", *targets(slices)):
        print(line)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
