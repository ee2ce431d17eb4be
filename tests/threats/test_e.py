"""Rows E: time. Clocks that jump, stand still or disagree, and tokens at the edge of their life."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import pytest

from fbguard import Policy, Requirement, Rule
from tests.support import NOW, TOKEN, make_guard, negatives, positives, valid

SCOPED = Policy(Rule("/scoped", scopes=["email"]), Rule("/any", any_scope=["email"]))


def test_E01_zero_never_expires_and_is_still_asked_for_anew(door, guard, graph, clock):
    graph.replies[TOKEN] = valid(expires_at=0)
    behind = door(guard)
    assert behind.send(TOKEN).info.expires_at is None
    clock.advance(299.9)
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 1)
    clock.advance(0.1)
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 2)


@pytest.mark.parametrize("expires_at", [..., None], ids=["missing", "null"])
@pytest.mark.parametrize("kind", ["USER", "PAGE"])
def test_E01_missing_is_not_zero(door, guard, graph, expires_at, kind):
    graph.replies[TOKEN] = valid(expires_at=expires_at, type=kind)
    answer = door(guard, policy=Policy(default=Requirement(token_types=["USER", "PAGE"]))).send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert positives(guard) == negatives(guard) == 0


@pytest.mark.parametrize(("left", "status"), [(1, 200), (0.001, 200), (0, 401), (-0.001, 401), (-1, 401)])
@pytest.mark.parametrize("is_hit", [False, True], ids=["miss", "hit"])
def test_E02_boundary(door, guard, graph, clock, left, status, is_hit):
    graph.replies[TOKEN] = valid(expires_at=NOW + 100)
    behind = door(guard)
    if is_hit:
        assert behind.send(TOKEN).status == 200
    clock.advance(100 - left)
    answer = behind.send(TOKEN)
    assert (answer.status, answer.ran, len(graph.calls)) == (status, status == 200, 1)
    if status == 401:
        assert (answer.reason, answer.json["relogin"]["action"]) == ("expired", "login")


@pytest.mark.parametrize(("left", "is_lapsed"), [(10, False), (1, False), (0, True), (-1, True)])
@pytest.mark.parametrize("expires_at", [0, NOW + 3600])
def test_E03_data_access_in_the_past(door, guard, graph, left, is_lapsed, expires_at):
    graph.replies[TOKEN] = valid(data_access_expires_at=NOW + left, expires_at=expires_at)
    behind = door(guard, policy=SCOPED)
    for path in ("/scoped", "/any"):
        answer = behind.send(TOKEN, path)
        assert (answer.status, answer.ran) == ((401, False) if is_lapsed else (200, True))
        if is_lapsed:
            assert answer.reason == "data_access_expired"
            assert answer.json["relogin"]["auth_type"] == "reauthorize"
    assert behind.send(TOKEN, "/").status == 200  # a route without scopes stays open
    assert (len(graph.calls), positives(guard)) == (1, 1)


@pytest.mark.parametrize("never", [0, None, ...], ids=repr)
def test_E03_data_access_without_an_end(door, guard, graph, never):
    graph.replies[TOKEN] = valid(data_access_expires_at=never)
    answer = door(guard, policy=SCOPED).send(TOKEN, "/scoped")
    assert (answer.status, answer.info.data_access_expires_at) == (200, None)


def test_E03_data_access_lapses_on_a_hit(door, guard, graph, clock):
    graph.replies[TOKEN] = valid(data_access_expires_at=NOW + 10)
    behind = door(guard, policy=SCOPED)
    assert behind.send(TOKEN, "/scoped").status == 200
    clock.advance(10)
    assert behind.send(TOKEN, "/scoped").reason == "data_access_expired"
    assert behind.send(TOKEN, "/").status == 200
    assert len(graph.calls) == 1


def test_E04_wall_clock_back_prolongs_no_ttl(door, guard, graph, clock):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.wall -= 3600
    clock.advance(299)
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 1)
    clock.advance(1)
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 2)


def test_E04_wall_clock_back_prolongs_no_life(door, graph, clock):
    graph.replies[TOKEN] = valid(expires_at=NOW + 60)
    with make_guard(graph, clock, ttl=1e6) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == 200
        clock.wall -= 3600
        clock.mono += 60
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)


def test_E04_a_no_does_not_last_longer_either(door, guard, graph, clock):
    graph.replies[TOKEN] = valid(is_valid=False)
    behind = door(guard)
    assert behind.send(TOKEN).status == 401
    clock.wall -= 3600
    clock.mono += 30
    assert (behind.send(TOKEN).status, len(graph.calls)) == (401, 2)


def test_E05_wall_clock_forward_ends_the_ttl(door, guard, graph, clock):
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.wall += 300
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, 2)


def test_E05_wall_clock_forward_ends_the_life(door, graph, clock):
    with make_guard(graph, clock, ttl=1e6) as guard:
        behind = door(guard)
        assert behind.send(TOKEN).status == 200
        clock.wall += 3600
        answer = behind.send(TOKEN)
        assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)
    assert len(graph.calls) == 1


@pytest.mark.parametrize(("slept", "calls"), [(299, 1), (300, 2), (86_400, 2)])
def test_E06_monotonic_stands_still_while_the_machine_sleeps(door, guard, graph, clock, slept, calls):
    graph.replies[TOKEN] = valid(expires_at=0)
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.wall += slept
    assert (behind.send(TOKEN).status, len(graph.calls)) == (200, calls)


def test_E06_a_snapshot_of_the_machine_is_started_later(door, guard, graph, clock):
    """Both clocks jump: monotonic to anything at all, the wall clock to the truth."""
    graph.replies[TOKEN] = valid(expires_at=NOW + 3600)
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.mono = 1.0
    clock.wall += 3600
    answer = behind.send(TOKEN)
    assert (answer.status, answer.reason, answer.ran) == (401, "expired", False)


@pytest.mark.parametrize("ahead", [3600, 86_400])
def test_E07_a_login_in_the_future_prolongs_nothing(door, guard, graph, clock, ahead):
    graph.replies[TOKEN] = valid(issued_at=NOW + ahead, expires_at=NOW + 200)
    behind = door(guard)
    assert behind.send(TOKEN).status == 200
    clock.advance(199)
    assert behind.send(TOKEN).status == 200
    clock.advance(1)
    assert behind.send(TOKEN).reason == "expired"
    assert len(graph.calls) == 1


def test_E07_an_end_before_the_login_is_an_end(door, guard, graph):
    graph.replies[TOKEN] = valid(issued_at=NOW + 3600, expires_at=NOW)
    assert door(guard).send(TOKEN).reason == "expired"


@pytest.mark.parametrize(("remaining", "status"), [(3599, 200), (3600, 200), (3600.5, 401), (3601, 401)])
def test_E07_leeway_only_shortens(door, guard, graph, remaining, status):
    policy = Policy(Rule("/soon", min_remaining=remaining))
    behind = door(guard, policy=policy)
    answer = behind.send(TOKEN, "/soon")
    assert (answer.status, answer.ran) == (status, status == 200)
    assert status == 200 or answer.reason == "expires_soon"
    assert behind.send(TOKEN, "/").status == 200


@pytest.mark.parametrize(("issued_at", "status"), [(NOW, 200), (NOW - 60, 200), (NOW - 61, 401), (..., 401)])
def test_E07_the_age_of_a_login(door, guard, graph, issued_at, status):
    graph.replies[TOKEN] = valid(issued_at=issued_at)
    answer = door(guard, policy=Policy(default=Requirement(max_login_age=60))).send(TOKEN)
    assert (answer.status, answer.ran) == (status, status == 200)
    assert status == 200 or answer.reason == "login_too_old"
