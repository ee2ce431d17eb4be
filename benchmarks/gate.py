"""What must hold, by ratios within one run, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import decorators
from benchmarks.filling import NO_GRANTS, NO_TARGETS, ONE_TARGET
from benchmarks.hit import BARE, FLOOR, GUARDED, PROTOCOLS
from benchmarks.lines import Line, added_ratio
from benchmarks.peers import OURS

Results = Mapping[str, Any]  # a part's name -> its JSON data

#: Of what fbguard adds in what its floor adds: the bound and what we should like.
FLOORS: Final = {"ASGI": (1.6, 1.25), "WSGI": (1.8, 1.4)}
#: How often what fbguard adds must go into what a peer adds.
PEERS: Final = (
    ("ASGI AuthenticationMiddleware + requires", "ASGI", 1.25, 2.0),
    ("FastAPI HTTPBearer + Security", "ASGI", 15.0, None),
    ("ASGI PyJWT HS256", "ASGI", 20.0, None),
    ("Flask-HTTPAuth token", "WSGI", 10.0, None),
)
BYTES: Final = {NO_GRANTS: 450, NO_TARGETS: 450, ONE_TARGET: 750}
DECORATOR: Final = 4.0
SCALES: Final = (
    ("tokens", "1,000,000 tokens", "10,000 tokens", 1.5),
    ("rules", "1,000 rules, literal", "1 rule, literal", 1.3),
    ("rules", "1,000 rules, template", "1 rule, template", 1.3),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A bound and what was found; None was not measured. ``at_most`` tells which side of it is good."""

    what: str
    found: float | None
    bound: float
    stretch: float | None = None
    at_most: bool = True

    @property
    def is_met(self) -> bool | None:
        """Whether it holds; None if it was not measured."""
        if self.found is None:
            return None
        return self.found <= self.bound if self.at_most else self.found >= self.bound

    @property
    def text(self) -> str:
        """The bound in words."""
        stretch = "" if self.stretch is None else f" (better: {self.stretch:g})"
        return f"{'at most' if self.at_most else 'at least'} {self.bound:g}{stretch}"


def targets(results: Results) -> Iterator[Target]:
    """Give every target of the parts that were run."""
    if "hit" in results:
        yield from _of_floor(results["hit"]["microseconds"])
    if "peers" in results:
        yield from _of_peers(_lines(results["peers"], "lines"))
    if "decorators" in results:
        yield from _of_decorators(_lines(results["decorators"], "lines"))
    if "scale" in results:
        yield from _of_scale(results["scale"])


def _of_floor(microseconds: Mapping[str, Mapping[str, float]]) -> Iterator[Target]:
    for protocol in PROTOCOLS:
        median = {name: microseconds[f"{protocol} {name}"]["median"] for name in (BARE, FLOOR, GUARDED)}
        floor = median[FLOOR] - median[BARE]
        found = (median[GUARDED] - median[BARE]) / floor if floor > 0 else None
        yield Target(f"{protocol} hit, times its floor", found, *FLOORS[protocol])


def _of_peers(lines: Sequence[Line]) -> Iterator[Target]:
    for name, protocol, bound, stretch in PEERS:
        found = added_ratio(lines, name, OURS[protocol])
        yield Target(f"{name}, times fbguard", found, bound, stretch, at_most=False)


def _of_decorators(lines: Sequence[Line]) -> Iterator[Target]:
    for protocol in PROTOCOLS:
        what = f"{protocol} require_fb_token, times a decorator that does nothing"
        yield Target(what, decorators.ratio(lines, protocol), DECORATOR)


def _of_scale(data: Mapping[str, Any]) -> Iterator[Target]:
    for part, much, little, bound in SCALES:
        if part in data:
            found = added_ratio(_lines(data, part), much, little)
            yield Target(f"a hit with {much}, times {little}", found, bound)
    for one in data.get("memory", ()):
        yield Target(f"bytes per cached token, {one['kind']}", one["each"], BYTES[one["kind"]])


def _lines(data: Mapping[str, Any], part: str) -> list[Line]:
    return [Line.read(one) for one in data[part]]


def verdicts(found: Sequence[Target]) -> Iterator[str]:
    """Give a line for each target."""
    for one in found:
        word = {True: "met", False: "MISSED", None: "not measured"}[one.is_met]
        value = "" if one.found is None else f"{one.found:.2f}, "
        yield f"{word:<14}{one.what}: {value}{one.text}"
