"""What was said to be over, for how long, and for whom."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.revocation.tombstones import LIFETIME, MOST, Tombstone, Tombstones, Why
from tests.support import NOW, PATIENCE, FakeClock

A, B, C = (key_of(Secret(name)) for name in "abc")


def stone(
    until: float = NOW + 1000, at: float = 0.0, why: Why = "session_invalidated", heard: float = NOW
) -> Tombstone:
    return Tombstone(why, until, at, heard)


def info(user: str | None = "1", issued: int = 0) -> TokenInfo:
    return TokenInfo(app_id="42", type="USER", is_valid=True, user_id=user, issued=issued)


def refused(stones: Tombstones, issued: int, user: str | None = "1", since: float = NOW - 500) -> bool:
    return stones.of_facts(info(user, issued), since) is not None


def make(clock: FakeClock, most: int = 3) -> tuple[Tombstones, list[None]]:
    dropped: list[None] = []
    return Tombstones(clock.time, lambda: dropped.append(None), most), dropped


@pytest.fixture
def stones(clock):
    return make(clock)[0]


def test_a_token_is_refused_until_the_tombstones_end(stones, clock):
    assert stones.of_token(A) is None
    stones.bury(A, stone())
    assert stones.of_token(A) == stone()
    assert stones.of_token(B) is None
    clock.wall += 999.5
    assert stones.of_token(A) is not None
    clock.wall += 0.5
    assert stones.of_token(A) is None


def test_a_clock_that_was_wrong_for_a_while_opens_nothing(stones, clock):
    stones.bury(A, stone())
    clock.wall += 5000
    assert stones.of_token(A) is None
    clock.wall -= 5000
    assert stones.of_token(A) is not None


@pytest.mark.parametrize(("issued", "expected"), [(NOW - 1, True), (NOW, True), (NOW + 1, False)])
@pytest.mark.parametrize("since", [NOW - 1, NOW + 1])
def test_a_users_tokens_up_to_the_event_are_refused(stones, issued, expected, since):
    """Whenever they were seen here: what counts is Facebook's own time of issue."""
    stones.bury_user("1", stone(at=NOW, why="not_authorized"))
    assert refused(stones, issued, since=since) == expected
    assert not refused(stones, issued, "2", since)
    assert not refused(stones, issued, None, since)


@pytest.mark.parametrize(("since", "expected"), [(NOW - 1, True), (NOW, True), (NOW + 1, False)])
@pytest.mark.parametrize("ahead", [0, 30])
def test_where_nobody_knows_the_time_of_issue_it_counts_when_a_token_was_first_seen(
    stones, since, expected, ahead
):
    """By our clock: that of Facebook may be ahead, and must not refuse who logs in afterwards."""
    stones.bury_user("1", stone(at=NOW + ahead, heard=NOW))
    assert refused(stones, 0, since=since) == expected


@pytest.mark.parametrize(
    ("since", "heard", "expected"),
    [(0.4, 0.6, True), (0.7, 0.6, False), (0.4, 30, True), (0.999, 30, True), (1.0, 30, False)],
)
def test_a_token_that_was_seen_within_the_second_of_the_event_is_refused(stones, since, heard, expected):
    """Facebook tells whole seconds, and cuts them off."""
    stones.bury_user("1", stone(at=NOW, heard=NOW + heard))
    assert refused(stones, 0, since=NOW + since) == expected


def test_hearing_of_an_event_again_refuses_nobody_else(stones):
    """Facebook's clock is ahead, and it calls a second time, after the new login."""
    stones.bury_user("1", stone(at=NOW + 40, heard=NOW))
    stones.bury_user("1", stone(at=NOW + 40, heard=NOW + 30))
    assert refused(stones, 0, since=NOW)
    assert not refused(stones, 0, since=NOW + 10)


def test_an_older_event_that_is_heard_of_later_refuses_nobody_else(stones):
    stones.bury_user("1", stone(at=NOW, heard=NOW))
    stones.bury_user("1", stone(at=NOW - 100, heard=NOW + 30))
    assert refused(stones, 0, since=NOW)
    assert not refused(stones, 0, since=NOW + 1)


@pytest.mark.parametrize("events", [(NOW - 50, NOW), (NOW, NOW - 50), (NOW, NOW)])
def test_of_two_events_the_later_counts(stones, events):
    """In whichever order they come: a callback may be replayed."""
    for at in events:
        stones.bury_user("1", stone(at=at))
    assert refused(stones, NOW)
    assert not refused(stones, NOW + 1)


@pytest.mark.parametrize("untils", [(NOW + 10, NOW + 1000), (NOW + 1000, NOW + 10)])
def test_no_tombstone_is_shortened(stones, clock, untils):
    for until in untils:
        stones.bury(A, stone(until))
        stones.bury_user("1", stone(until, at=NOW))
    clock.wall += 999
    assert stones.of_token(A) is not None
    assert refused(stones, NOW)
    clock.wall += 1
    assert stones.of_token(A) is None
    assert not refused(stones, NOW)


def test_the_first_reason_stays_for_as_long_as_its_tombstone(stones, clock):
    stones.bury(A, stone())
    stones.bury(A, stone(why="not_authorized"))
    assert stones.of_token(A).why == "session_invalidated"
    clock.wall += 1000
    stones.bury(A, stone(NOW + 5000, why="not_authorized"))
    assert stones.of_token(A).why == "not_authorized"


def test_the_oldest_goes_first_and_that_is_said(clock):
    stones, dropped = make(clock)
    for one in (A, B, C):
        stones.bury(one, stone())
    stones.bury(A, stone())  # again: now it is the youngest
    assert dropped == []
    stones.bury(key_of(Secret("d")), stone())
    assert (len(stones), len(dropped)) == (3, 1)
    assert [bool(stones.of_token(one)) for one in (A, B, C)] == [True, False, True]


def test_tokens_and_users_have_their_own_room(clock):
    stones, dropped = make(clock)
    stones.bury(A, stone())
    for number in range(10):
        stones.bury_user(str(number), stone(at=NOW))
    assert stones.of_token(A) is not None
    assert (len(stones), len(dropped)) == (4, 7)


def test_nobody_misses_one_whose_time_was_over(clock):
    stones, dropped = make(clock)
    for one in (A, B, C):
        stones.bury(one, stone(NOW + 1))
    clock.wall += 1
    for number in range(3):
        stones.bury(key_of(Secret(str(number))), stone(NOW + 10))
    assert (len(stones), dropped) == (3, [])


def test_the_promised_numbers():
    assert (LIFETIME, MOST) == (90 * 86_400, 100_000)


events = st.lists(st.tuples(st.sampled_from("123"), st.integers(NOW - 100, NOW)), max_size=12)
times = st.integers(NOW - 120, NOW + 120)


@given(events=events, user=st.sampled_from("123"), issued=st.one_of(st.just(0), times), since=times)
def test_a_token_is_refused_exactly_if_it_is_no_younger_than_an_event(events, user, issued, since):
    stones, _ = make(FakeClock())
    for one, at in events:
        stones.bury_user(one, stone(at=at))
    expected = any(one == user and (issued or since) <= at for one, at in events)
    assert refused(stones, issued, user, since) == expected


def test_many_threads(clock):
    stones, dropped = make(clock, most=50)
    barrier = threading.Barrier(16)
    faults: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait(PATIENCE)
        try:
            for step in range(200):
                name = f"{number}-{step}"
                stones.bury(key_of(Secret(name)), stone())
                stones.bury_user(name, stone(at=NOW))
                assert len(stones) <= 102  # one that is being put may be over the number
                stones.of_token(key_of(Secret(name)))
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert faults == []
    assert (len(stones), len(dropped)) == (100, 2 * 16 * 200 - 100)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_has_them_and_a_lock_of_its_own(stones):
    stones.bury(A, stone())
    with stones._lock:  # held by a thread that the child does not have
        child = os.fork()
        if child == 0:
            try:
                stones.bury(B, stone())
                os._exit(0 if stones.of_token(A) and stones.of_token(B) else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert stones.of_token(B) is None
