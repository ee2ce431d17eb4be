"""What a hit costs where there is much: ``python -m benchmarks.scale``.

Many cached tokens (each request has another one, at random), many rules (the one that judges is the last),
many threads; bytes per cached token and the collector's pauses. fbguard's doors around bare apps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, Final

from benchmarks import scale_memory
from benchmarks.filling import fill, token_of
from benchmarks.hit import POLICY
from benchmarks.lines import Line, about, as_data, heading, lines_of, table
from benchmarks.requests import PATH, environ_of, in_turn, requests_with
from benchmarks.sides import AsgiSide, Proof, WsgiSide, asgi_app, has_facts, wsgi_app
from benchmarks.timing import Slice, by_rounds
from benchmarks.world import NEEDED, TOKENS, is_anything, world
from fbguard import Policy, Rule, asgi, wsgi
from fbguard.asgi import ASGIApp

BARE: Final = "bare app"
PARTS: Final = ("tokens", "rules", "threads", "memory", "collector")
TOKEN_COUNTS: Final = (1, 1_000, 10_000, 100_000, 1_000_000)
RULE_COUNTS: Final = (1, 100, 1_000)
THREAD_COUNTS: Final = (1, 8, 64)
MEMORY_TOKENS: Final = 100_000

_TEMPLATE: Final = "/v2/pages/{page_id}/posts"
_TEMPLATE_PATH: Final = "/v2/pages/104522880012/posts"
_PER_THREAD: Final = 20  # requests of one turn, at least


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; ``tokens`` bounds all counts of tokens."""

    rounds: int = 100
    requests: int = 100
    tokens: int = TOKEN_COUNTS[-1]


def _has_any_facts(carrier: dict[str, Any]) -> bool:
    return not has_facts(None)(carrier)


def of_tokens(size: Size) -> list[Line]:
    """Time hits in caches of several sizes."""
    counts = [count for count in TOKEN_COUNTS if count <= size.tokens]
    with ExitStack() as stack:
        side = AsgiSide(stack.enter_context(asyncio.Runner()))
        slices = {BARE: _random_hits(side, asgi_app, counts[-1], is_anything)}
        for count in counts:
            guard = stack.enter_context(world(cache_size=count)).guard
            fill(guard, range(count))
            door = asgi.FBTokenMiddleware(asgi_app, guard, policy=POLICY)
            slices[f"{count:,} token{'s' if count > 1 else ''}"] = _random_hits(side, door, count)
        means = by_rounds(slices, rounds=size.rounds, requests=size.requests)
    return _over_bare(means)


def _over_bare(means: Mapping[str, Sequence[float]]) -> list[Line]:
    return lines_of(means, {name: None if name == BARE else BARE for name in means})


def _random_hits(side: AsgiSide, app: ASGIApp, tokens: int, proof: Proof = _has_any_facts) -> Slice:
    chance = random.Random(1)

    def serve(count: int) -> float:
        numbers = (chance.randrange(tokens) for _ in range(count))
        requests = [requests_with(token_of(number))[turn % 2] for turn, number in enumerate(numbers)]
        return side.serve(app, requests, proof)

    return serve


def policy_of(count: int, last: str) -> Policy:
    """Return a policy of so many rules; only the last one matches what is asked."""
    rules = [
        Rule(f"/v1/things{number}/{{thing_id}}" if number % 2 else f"/v1/lists{number}", scopes=["email"])
        for number in range(count - 1)
    ]
    return Policy(*rules, Rule(last, methods=["GET"], scopes=NEEDED))


def of_rules(size: Size) -> list[Line]:
    """Time hits under policies of several sizes, on a literal path and on a template."""
    with world() as place, asyncio.Runner() as runner:
        side = AsgiSide(runner)
        slices = {BARE: _hits_on(side, asgi_app, PATH, is_anything)}
        for kind, rule, path in (("literal", PATH, PATH), ("template", _TEMPLATE, _TEMPLATE_PATH)):
            for count in RULE_COUNTS:
                policy = policy_of(count, rule)
                door = asgi.FBTokenMiddleware(asgi_app, place.guard, policy=policy)
                slices[f"{count:,} rule{'s' if count > 1 else ''}, {kind}"] = _hits_on(side, door, path)
        means = by_rounds(slices, rounds=size.rounds, requests=size.requests)
    return _over_bare(means)


def _hits_on(side: AsgiSide, app: ASGIApp, path: str, proof: Proof = _has_any_facts) -> Slice:
    requests = tuple(replace(one, path=path) for one in requests_with(TOKENS.good))
    return lambda count: side.serve(app, list(in_turn(requests, count)), proof)


def of_threads(size: Size) -> list[Line]:
    """Time hits of several threads at once; a request's time is the wall time over all requests."""
    with world() as place:
        door = wsgi.FBTokenMiddleware(wsgi_app, place.guard, policy=POLICY)
        WsgiSide().serve(door, requests_with(TOKENS.good), _has_any_facts)
        slices: dict[str, Slice] = {}
        bases: dict[str, str | None] = {}
        for count in THREAD_COUNTS:
            bare, guarded = f"bare app, threads: {count}", f"fbguard, threads: {count}"
            slices |= {bare: _hits_in(count, wsgi_app), guarded: _hits_in(count, door)}
            bases |= {bare: None, guarded: bare}
        requests = max(size.requests, _PER_THREAD * THREAD_COUNTS[-1])
        means = by_rounds(slices, rounds=size.rounds, requests=requests)
    return lines_of(means, bases)


def _hits_in(threads: int, app: Callable[..., Any]) -> Slice:
    requests = requests_with(TOKENS.good)

    def serve(count: int) -> float:
        each = max(count // threads, 1)
        start = threading.Barrier(threads + 1)
        works = [[environ_of(one) for one in in_turn(requests, each)] for _ in range(threads)]
        running = [threading.Thread(target=_serve, args=(app, work, start)) for work in works]
        for thread in running:
            thread.start()
        start.wait()
        started = perf_counter()
        for thread in running:
            thread.join()
        seconds = perf_counter() - started
        if app is not wsgi_app and not all(_has_any_facts(one) for work in works for one in work):
            raise RuntimeError("a request that was timed was not let in")
        return seconds * count / (each * threads)

    return serve


def _serve(app: Callable[..., Any], environs: Sequence[dict[str, Any]], start: threading.Barrier) -> None:
    start.wait()
    for environ in environs:
        for _ in app(environ, _start_response):
            pass


def _start_response(*_answer: Any) -> Callable[[bytes], object]:
    return len


def measure(size: Size, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Measure the parts; returns JSON data."""
    timed = {"tokens": of_tokens, "rules": of_rules, "threads": of_threads}
    found: dict[str, Any] = {part: as_data(timed[part](size)) for part in parts if part in timed}
    if "memory" in parts:
        memory = scale_memory.memory(min(MEMORY_TOKENS, size.tokens))
        found["memory"] = [asdict(one) for one in memory]
    if "collector" in parts:
        counts = [count for count in (0, 100_000, 1_000_000) if count <= size.tokens]
        found["collector"] = [asdict(scale_memory.pauses(count, 200 * size.requests)) for count in counts]
    return found


def text(found: dict[str, Any]) -> list[str]:
    """Return all tables for people."""
    lines: list[str] = []
    for part in PARTS[:3]:
        if part in found:
            lines += [*table([Line.read(one) for one in found[part]], f"{part}, us per request"), ""]
    memory = [scale_memory.Memory(**one) for one in found.get("memory", ())]
    collector = [scale_memory.Pauses(**one) for one in found.get("collector", ())]
    return lines + scale_memory.text(memory, collector)


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    size = Size()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=size.rounds, help="how often each row has its turn")
    parser.add_argument("--requests", type=int, default=size.requests, help="of one turn")
    parser.add_argument("--tokens", type=int, default=size.tokens, help="at most; a million take a minute")
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    if min(given.rounds, given.requests, given.tokens) < 1:
        parser.error("--rounds, --requests and --tokens must be at least 1")
    found = measure(Size(given.rounds, given.requests, given.tokens), given.only or PARTS)
    if given.json:
        print(json.dumps({"about": about(), **found}))
    else:
        print(heading(about()), "", *text(found), sep="\n")


if __name__ == "__main__":
    main()
