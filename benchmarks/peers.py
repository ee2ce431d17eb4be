"""What other guards cost a request whose token is known: ``python -m benchmarks.peers``.

All in one process and by turns: fbguard, its floor, and what people use, each around an app as bare as it
allows. Each does the same work: the token stands in one of fifteen headers and is known; the user is told to
the app and two scopes are judged. Before anything is timed a row must let a good token in and refuse one
without a permission, a wrong one and none. A peer that is not installed is left out, and it is said.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.lines import Line, about, added_ratio, as_data, heading, lines_of, table
from benchmarks.requests import in_turn, requests_with
from benchmarks.sides import AsgiSide, Side, WsgiSide
from benchmarks.timing import Slice, by_rounds
from benchmarks.world import Row, World, world
from fbguard import current_token

MODULES: Final = ("bare", "starlette", "fastapi", "mcp", "flask", "django")
PACKAGES: Final = (
    "starlette", "fastapi", "flask", "django", "authlib", "pyjwt", "cryptography", "flask-httpauth",
    "flask-jwt-extended", "django-oauth-toolkit", "fastmcp",
)  # fmt: skip
OURS: Final = {"ASGI": "ASGI fbguard", "WSGI": "WSGI fbguard"}

Build = Callable[[World], Row]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that was not measured, and why."""

    name: str
    why: str


def build(place: World, wanted: Callable[[str], bool]) -> tuple[dict[str, Row], list[LeftOut]]:
    """Build the rows that are wanted and the bases they need, in the table's order."""
    left_out: list[LeftOut] = []
    builders = dict(_builders(left_out))
    rows: dict[str, Row] = {}
    waiting = [name for name in builders if wanted(name)]
    while waiting:
        name = waiting.pop()
        try:
            rows[name] = row = builders[name](place)
        except ImportError as exc:
            left_out.append(LeftOut(name, f"{exc.name} is not installed"))
            continue
        if row.base is not None and row.base not in rows and row.base not in waiting:
            waiting.append(row.base)
    return {name: rows[name] for name in builders if name in rows}, left_out


def _builders(left_out: list[LeftOut]) -> Iterator[tuple[str, Build]]:
    for part in MODULES:
        try:
            module: Any = importlib.import_module(f"benchmarks.peers_{part}")
        except ImportError as exc:
            left_out.append(LeftOut(f"all rows of {part}", f"{exc.name} is not installed"))
            continue
        builders: Mapping[str, Build] = module.PEERS
        yield from builders.items()


def check(name: str, row: Row, side: Side) -> None:
    """Raise RuntimeError unless a row does what its numbers will be said to be for."""
    asked = ((row.tokens.good, True), (row.tokens.poor, False), (row.tokens.wrong, False), (None, False))
    for token, may_enter in asked:
        for request in requests_with(token):
            status = side.ask(row.app, request, current_token).status
            if status != 200 if may_enter or not row.guards else not 400 <= status < 500:
                kind = "a good token" if may_enter else "a request that must be refused"
                raise RuntimeError(f"{name}: {status} for {kind}")


def slice_of(row: Row, side: Side) -> Slice:
    """Return what the timing calls."""
    requests = requests_with(row.tokens.good)
    return lambda count: side.serve(row.app, list(in_turn(requests, count)), row.proof)


def measure(
    *, rounds: int, requests: int, wanted: Callable[[str], bool] = lambda _name: True
) -> tuple[list[Line], list[LeftOut]]:
    """Check and time every row that is wanted."""
    with world() as place, asyncio.Runner() as runner, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers about their own next version
        sides: dict[str, Side] = {"ASGI": AsgiSide(runner), "WSGI": WsgiSide()}
        rows, left_out = build(place, wanted)
        for name, row in rows.items():
            check(name, row, sides[row.protocol])
        slices = {name: slice_of(row, sides[row.protocol]) for name, row in rows.items()}
        means = by_rounds(slices, rounds=rounds, requests=requests)
        for name, row in rows.items():
            check(name, row, sides[row.protocol])
    return lines_of(means, {name: row.base for name, row in rows.items()}), left_out


def protocol_of(line: Line) -> str:
    """Return which protocol a row speaks, by its base."""
    base = line.base or line.name
    return "WSGI" if base.startswith(("WSGI", "Flask", "Django")) else "ASGI"


def compared(lines: Sequence[Line]) -> Iterator[tuple[Line, float | None]]:
    """Give what each row adds, times what fbguard adds around a bare app of its protocol."""
    for line in lines:
        if line.added is not None:
            yield line, added_ratio(lines, line.name, OURS[protocol_of(line)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="how often each row has its turn")
    parser.add_argument("--requests", type=int, default=60, help="of one turn")
    parser.add_argument("--only", action="append", metavar="PART", help="rows with this in their names")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    if min(given.rounds, given.requests) < 1:
        parser.error("--rounds and --requests must be at least 1")
    parts: Sequence[str] = given.only or [""]
    lines, left_out = measure(
        rounds=given.rounds,
        requests=given.requests,
        wanted=lambda name: any(part in name for part in (*parts, *OURS.values())),
    )
    where = about(*PACKAGES)
    if given.json:
        missing = [{"name": one.name, "why": one.why} for one in left_out]
        print(json.dumps({"about": where, "lines": as_data(lines), "left_out": missing}))
        return
    print(
        heading(where), f"{given.rounds} rounds of {given.requests} requests per row, by turns", "", sep="\n"
    )
    print(
        *table(lines), "", "added, over what fbguard adds around a bare app of the same protocol:", sep="\n"
    )
    for line, ratio in compared(lines):
        print(f"{line.name:<46}{'-' if ratio is None else f'{ratio:.2f}':>8}")
    for one in left_out:
        print(f"left out: {one.name}: {one.why}")


if __name__ == "__main__":
    main()
