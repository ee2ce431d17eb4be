"""Rows C: sequences over one cache."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import pytest

from fbguard import Policy, Rule
from tests.support import NOW, TOKEN, valid

ROUTES = Policy(Rule("/a", scopes=["email"]), Rule("/b", scopes=["pages_show_list"]))


def test_C01_scope_bypass_through_the_cache(door, guard, graph):
    behind = door(guard, policy=ROUTES)
    assert behind.send(TOKEN, "/a").status == 200
    answer = behind.send(TOKEN, "/b")
    assert (answer.status, answer.reason, answer.ran) == (403, "insufficient_scope", False)
    assert 'scope="pages_show_list"' in answer.challenge
    assert behind.send(TOKEN, "/a").status == 200
    assert graph.calls == [TOKEN]


def test_C02_a_refusal_does_not_stick(door, guard, graph):
    behind = door(guard, policy=ROUTES)
    assert behind.send(TOKEN, "/b").status == 403
    answer = behind.send(TOKEN, "/a")
    assert (answer.status, answer.ran) == (200, True)
    assert graph.calls == [TOKEN]


def test_C06_positive_outlives_the_token(door, guard, graph, clock):
    graph.replies[TOKEN] = valid(expires_at=NOW + 2)
    behind = door(guard)
    clock.advance(1.9)
    assert behind.send(TOKEN).status == 200
    clock.advance(0.1)
    answer = behind.send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_C06_by_either_clock(door, guard, graph, clock, moved):
    graph.replies[TOKEN] = valid(expires_at=NOW + 2)
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    setattr(clock, moved, getattr(clock, moved) + 2)
    assert behind.send(TOKEN).reason == "expired"


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, 1])
def test_C06_a_token_that_is_past_at_once(door, guard, graph, expires_at):
    graph.replies[TOKEN] = valid(expires_at=expires_at)
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)
