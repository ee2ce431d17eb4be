"""What a request costs whose token is known: ``python -m benchmarks.hit``.

Five variants of one small app, in both protocols and in one run: bare, behind a middleware that does
nothing, behind the bare parts of a hit, behind the hand-written floor and behind fbguard's door. No sockets.
Before anything is timed every variant shows that it does its work; after it, that every request was a hit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import fbguard
from benchmarks.floor import AsgiFloor, Judge, WsgiFloor, facts_of_request
from benchmarks.lines import about
from benchmarks.parts import AsgiParts, WsgiParts, entries_of, part_of_request, rules_of
from benchmarks.requests import PATH, in_turn, requests_with
from benchmarks.sides import AsgiNoOp, AsgiSide, Look, Side, WsgiNoOp, WsgiSide, asgi_app, has_facts, wsgi_app
from benchmarks.timing import COLLECTOR, Slice, Spread, interleaved
from fbguard import Guard, Policy, Rule, TokenInfo, current_token
from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.sandbox import Sandbox
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor

POLICY: Final = Policy(
    Rule("/health", public=True),
    Rule("/v1/newsletter", methods=["POST"], scopes=["email"]),
    Rule("/v1/friends", scopes=["user_friends"]),
    Rule(PATH, methods=["GET"], scopes=["public_profile", "email"]),
)
SCOPES: Final = ("public_profile", "email", "user_friends", "pages_show_list")
PROTOCOLS: Final = ("ASGI", "WSGI")
BARE, NO_OP, PARTS, FLOOR, GUARDED = "bare", "no-op", "parts", "floor", "guarded"
VARIANTS: Final = (BARE, NO_OP, PARTS, FLOOR, GUARDED)

_DAY: Final = 86_400.0  # seconds: no fact's time is over before the run is


@dataclass(frozen=True, slots=True)
class Variant:
    """An app to time; ``look`` is how its code asks for the facts, None where nothing injects any."""

    name: str
    side: Side
    app: Any
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """One variant over another by the best rounds: whole requests, and what each adds to the bare app.

    ``added`` is None where the lower one adds nothing, or so little that the noise has swallowed it.
    """

    whole: float
    added: float | None


def variants(guard: Guard, judge: Judge, token: str, runner: asyncio.Runner) -> list[Variant]:
    """Return every variant, named like ``ASGI floor``; all know the token."""
    asgi, wsgi = AsgiSide(runner), WsgiSide()
    floor_look, part_look = facts_of_request.get, part_of_request.get
    known = entries_of(token, guard.check(token), _DAY), rules_of("public_profile", "email")
    return [
        Variant(f"ASGI {BARE}", asgi, asgi_app),
        Variant(f"ASGI {NO_OP}", asgi, AsgiNoOp(asgi_app)),
        Variant(f"ASGI {PARTS}", asgi, AsgiParts(asgi_app, *known), part_look),
        Variant(f"ASGI {FLOOR}", asgi, AsgiFloor(asgi_app, judge), floor_look),
        Variant(f"ASGI {GUARDED}", asgi, AsgiDoor(asgi_app, guard, policy=POLICY), current_token),
        Variant(f"WSGI {BARE}", wsgi, wsgi_app),
        Variant(f"WSGI {NO_OP}", wsgi, WsgiNoOp(wsgi_app)),
        Variant(f"WSGI {PARTS}", wsgi, WsgiParts(wsgi_app, *known), part_look),
        Variant(f"WSGI {FLOOR}", wsgi, WsgiFloor(wsgi_app, judge), floor_look),
        Variant(f"WSGI {GUARDED}", wsgi, WsgiDoor(wsgi_app, guard, policy=POLICY), current_token),
    ]


def check(variant: Variant, token: str, info: TokenInfo) -> None:
    """Raise RuntimeError unless a variant does what its numbers will be said to be for."""
    guards = variant.look is not None
    look = variant.look or current_token
    for request in requests_with(token):
        seen = variant.side.ask(variant.app, request, look)
        expected = info if guards else None
        if seen.status != 200 or any(facts is not expected for facts in seen.facts):
            raise RuntimeError(f"{variant.name}: {seen.status} or wrong facts for a good token")
    for request in requests_with(None):
        seen = variant.side.ask(variant.app, request, look)
        if seen.status != (401 if guards else 200):
            raise RuntimeError(f"{variant.name}: {seen.status} without a token")


def slice_of(variant: Variant, token: str, info: TokenInfo) -> Slice:
    """Return what the timing calls: it serves a number of requests of the two clients by turns."""
    requests = requests_with(token)
    expected = None if variant.look is None else info
    proof = has_facts(expected)
    return lambda count: variant.side.serve(variant.app, list(in_turn(requests, count)), proof)


def measure(*, rounds: int, requests: int) -> dict[str, Spread]:
    """Check and time every variant against a local Facebook that is asked once."""
    sandbox = Sandbox()
    token = sandbox.issue_token(scopes=SCOPES, expires_in=_DAY)
    # The system's clock and not the sandbox's, which costs more to read.
    with sandbox.guard(clock=None, ttl=_DAY) as guard, asyncio.Runner() as runner:
        info = guard.check(token)
        judge = Judge(guard.app_id, POLICY, ttl=_DAY)
        judge.remember(token, info)
        contenders = variants(guard, judge, token, runner)
        for variant in contenders:
            check(variant, token, info)
        slices = {variant.name: slice_of(variant, token, info) for variant in contenders}
        spreads = interleaved(slices, rounds=rounds, requests=requests)
    if len(sandbox.calls) != 1:
        raise RuntimeError("Graph was asked while hits were timed")
    return spreads


def ratios(spreads: Mapping[str, Spread]) -> dict[str, Ratio]:
    """Compare the guarded app with the others of its protocol."""
    found: dict[str, Ratio] = {}
    for protocol in PROTOCOLS:
        best = {name: spreads[f"{protocol} {name}"].min for name in VARIANTS}
        for other in (NO_OP, PARTS, FLOOR, BARE):
            below = best[other] - best[BARE]
            added = (best[GUARDED] - best[BARE]) / below if below > 0 else None
            found[f"{protocol} {GUARDED}/{other}"] = Ratio(best[GUARDED] / best[other], added)
    return found


def report(spreads: Mapping[str, Spread], *, rounds: int, requests: int) -> dict[str, Any]:
    """Return all of a run as JSON data."""
    return {
        "about": about(),
        "fbguard": fbguard.__version__,
        "python": _python(),
        "processors": os.cpu_count(),
        "rounds": rounds,
        "requests": requests,
        "garbage_collector": COLLECTOR,
        "microseconds": {name: asdict(spread) for name, spread in spreads.items()},
        "ratios": {name: asdict(ratio) for name, ratio in ratios(spreads).items()},
    }


def table(spreads: Mapping[str, Spread], *, rounds: int, requests: int) -> str:
    """Return a run as text for people."""
    lines = [
        f"fbguard {fbguard.__version__}, {_python()}, {os.cpu_count()} processors",
        f"{rounds} rounds of {requests} requests per variant, by turns; garbage collector {COLLECTOR}",
        "",
        f"{'microseconds per request':<26}{'min':>8}{'median':>8}{'max':>8}{'added':>8}",
    ]
    for protocol in PROTOCOLS:
        for name in VARIANTS:
            spread = spreads[f"{protocol} {name}"]
            added = spread.min - spreads[f"{protocol} {BARE}"].min
            shown = f"{spread.min:8.2f}{spread.median:8.2f}{spread.max:8.2f}{added:8.2f}"
            lines.append(f"{protocol} {name:<21}{shown}")
    lines += ["", f"{'ratios of the minima':<26}{'whole':>8}{'added':>8}"]
    for name, ratio in ratios(spreads).items():
        added_ratio = "-" if ratio.added is None else f"{ratio.added:.2f}"
        lines.append(f"{name:<26}{ratio.whole:8.2f}{added_ratio:>8}")
    lines += ["", "added: beyond the bare app"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hit", description=__doc__)
    parser.add_argument("--rounds", type=_count, default=300, help="how often each variant has its turn")
    parser.add_argument("--requests", type=_count, default=200, help="of one turn")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    spreads = measure(rounds=given.rounds, requests=given.requests)
    if given.json:
        print(json.dumps(report(spreads, rounds=given.rounds, requests=given.requests), indent=2))
    else:
        print(table(spreads, rounds=given.rounds, requests=given.requests))


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
