"""Soundness: the view runs only where the oracle says yes, and every refusal is the oracle's refusal."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import oracle
from tests.properties import strategies as nasty
from tests.properties.generator import Generator
from tests.properties.harness import DOORS, WAYS, World, new_token
from tests.support import NOW

CHUNK = 1000  # requests over one guard
REUSE = 0.4  # of the requests carry a token that the guard has seen


@given(
    reply=nasty.replies, need=nasty.needs, page=nasty.pages, after=nasty.moments, way=st.sampled_from(WAYS)
)
def test_guard_and_oracle_agree(world, reply, need, page, after, way):
    token = new_token()
    world.tell(token, reply)
    world.clock.wall = NOW + after
    values = [f"Bearer {token}"]
    assert world.ask(way, values, need, page) == world.right(values, need, page)
    assert world.ask(way, values, need, page) == world.right(values, need, page)  # from the cache


@given(need=nasty.needs, values=nasty.header_values, way=st.sampled_from(DOORS))
def test_guard_and_oracle_agree_on_credentials(world, need, values, way):
    calls = len(world.graph.calls)
    world.clock.wall = NOW
    assert world.ask(way, values, need) == world.right(values, need)
    if not isinstance(oracle.credential(values), str):
        assert len(world.graph.calls) == calls, "Graph was asked about no token"


@pytest.mark.slow
def test_oracle_checked_requests(oracle_requests):
    """Tens of thousands of requests: every way in, cold and cached, while time goes by."""
    seed = int(os.environ.get("FBGUARD_SEED", time.time_ns()))
    tally: Counter[str] = Counter()
    for number in range(0, oracle_requests, CHUNK):
        _run(seed + number, min(CHUNK, oracle_requests - number), tally)
    assert sum(tally.values()) == oracle_requests
    if oracle_requests >= CHUNK:  # the requests reach both sides of every rule
        assert len(tally) >= 22, tally
        assert tally["ok"] > oracle_requests / 20, tally


def _run(seed: int, count: int, tally: Counter[str]) -> None:
    generator = Generator(seed)
    rng = generator.rng
    needs = [generator.need() for _ in range(40)]
    tokens: list[str] = []
    with World(ttl=rng.choice([1, 300])) as world:
        for number in range(count):
            if not tokens or rng.random() > REUSE:
                tokens.append(new_token())
                world.tell(tokens[-1], generator.reply())
            if rng.random() < 0.02:
                world.clock.advance(rng.choice([1, 1, 2, 59, 60]))
            token = rng.choice(tokens[-20:])
            need, page, values = rng.choice(needs), generator.page(), generator.values(token)
            is_plain = values == [f"Bearer {token}"]
            way = rng.choice(WAYS if is_plain else DOORS)
            reply, calls = world.graph.replies[token], len(world.graph.calls)
            right = world.right(values, need, page)
            given = world.ask(way, values, need, page)
            assert given == right, (
                f"FBGUARD_SEED={seed}, request {number}: {way} says {given}, the oracle {right}; "
                f"{need!r}, page {page!r}, {values!r}, {reply.status} {reply.body[:2000]!r}, "
                f"now {world.clock.wall - NOW:+}"
            )
            asked = len(world.graph.calls) - calls
            where = f"FBGUARD_SEED={seed}, request {number}: {way}, {values!r}, {given}"
            assert asked == 0 or isinstance(oracle.credential(values), str), f"{where}: Graph was asked"
            assert asked == 1 or given[0] != 503, f"{where}: a don't-know was remembered"
            tally[given[1]] += 1
