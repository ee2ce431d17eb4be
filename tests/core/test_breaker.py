"""When Graph is not asked: after don't-knows in a row, and while it throttles."""

from __future__ import annotations

import threading

import pytest

from fbguard.core.breaker import (
    BURST,
    FAILURES,
    LONGEST,
    LONGEST_NAMED,
    PROBE_EVERY,
    SHORTEST,
    SPAN,
    Breaker,
    Hold,
)
from tests.support import PATIENCE, FakeClock


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock.monotonic)


def break_it(breaker: Breaker) -> None:
    for _ in range(BURST):
        breaker.failed()


def test_a_new_one_lets_everybody_through(breaker):
    assert [breaker.claim() for _ in range(100)] == [None] * 100
    assert breaker.hold() is None
    assert breaker.is_calm


def test_it_opens_after_failures_in_a_row(breaker, clock):
    for _ in range(FAILURES - 1):
        breaker.failed()
        clock.advance(SPAN)
        assert breaker.claim() is None
    breaker.failed()
    assert not breaker.is_calm
    assert breaker.claim() == Hold("unavailable", PROBE_EVERY)


def test_a_lost_connection_does_not_open_it(breaker, clock):
    for _ in range(FAILURES):
        breaker.failed()
    clock.advance(SPAN - 0.01)
    for _ in range(BURST - FAILURES - 1):
        breaker.failed()
    assert breaker.is_calm
    clock.advance(0.01)
    breaker.failed()
    assert not breaker.is_calm


def test_a_burst_opens_it_however_quick(breaker):
    for _ in range(BURST - 1):
        breaker.failed()
    assert breaker.is_calm
    breaker.failed()
    assert breaker.claim() == Hold("unavailable", PROBE_EVERY)


def test_few_failures_do_not_open_it_however_slow(breaker, clock):
    for _ in range(FAILURES - 1):
        breaker.failed()
        clock.advance(3600)
    assert breaker.is_calm


def test_the_span_begins_behind_the_last_answer(breaker, clock):
    breaker.failed()
    clock.advance(SPAN)
    breaker.answered(breaker.era)
    for _ in range(FAILURES):
        breaker.failed()
    assert breaker.is_calm


def test_a_late_failure_does_not_put_off_the_probe(breaker, clock):
    break_it(breaker)
    clock.advance(PROBE_EVERY / 2)
    breaker.failed()  # one that was under way
    assert breaker.hold() == Hold("unavailable", PROBE_EVERY / 2)
    clock.advance(PROBE_EVERY / 2)
    assert breaker.claim() is None


@pytest.mark.parametrize("trouble", ["open", "throttled"])
def test_looking_takes_no_probe(breaker, clock, trouble):
    if trouble == "open":
        break_it(breaker)
    else:
        breaker.throttled(None)
    clock.advance(SHORTEST)
    assert [breaker.hold() for _ in range(5)] == [None] * 5
    assert breaker.claim() is None
    held = breaker.hold()
    assert held is not None  # for all others
    assert breaker.claim() == held


def test_an_answer_between_failures_keeps_it_shut(breaker):
    for _ in range(5):
        for _ in range(BURST - 1):
            breaker.failed()
        breaker.answered(breaker.era)
    assert breaker.is_calm
    assert breaker.claim() is None


def test_one_probe_a_second(breaker, clock):
    break_it(breaker)
    for _ in range(5):
        clock.advance(PROBE_EVERY)
        asked = [breaker.claim() for _ in range(50)]
        assert asked == [None] + [Hold("unavailable", PROBE_EVERY)] * 49
        breaker.failed()


def test_a_probe_that_nobody_hears_of_is_not_the_last(breaker, clock):
    break_it(breaker)
    clock.advance(PROBE_EVERY)
    assert breaker.claim() is None  # and then that task ends, somehow
    clock.advance(PROBE_EVERY / 2)
    assert breaker.claim() == Hold("unavailable", PROBE_EVERY / 2)
    clock.advance(PROBE_EVERY / 2)
    assert breaker.claim() is None


def test_one_answer_opens_the_way_for_all(breaker, clock):
    break_it(breaker)
    clock.advance(PROBE_EVERY)
    assert breaker.claim() is None
    breaker.answered(breaker.era)
    assert breaker.is_calm
    assert [breaker.claim() for _ in range(10)] == [None] * 10


@pytest.mark.parametrize("trouble", ["open", "throttled"])
def test_threads_get_one_probe(breaker, clock, trouble):
    break_it(breaker)
    if trouble == "throttled":
        breaker.throttled(None)
    clock.advance(SHORTEST)
    barrier, asked = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(PATIENCE)
        asked.append(breaker.claim())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(asked) == 8
    assert asked.count(None) == 1


def test_the_back_off_doubles(breaker, clock):
    waits = []
    for _ in range(8):
        waits.append(breaker.throttled(None))
        assert not breaker.is_calm
        assert breaker.claim() == Hold("throttled", waits[-1])
        clock.advance(waits[-1] - 0.5)
        assert breaker.claim() == Hold("throttled", 0.5)
        clock.advance(0.5)
        assert breaker.claim() is None
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (waits[0], waits[-1]) == (SHORTEST, LONGEST)


@pytest.mark.parametrize("later", [0.0, 0.1, 1.5])
def test_of_calls_that_were_under_way_together_the_first_counts(breaker, clock, later):
    assert breaker.throttled(None) == 2
    clock.advance(later)
    for _ in range(100):
        breaker.throttled(None)
    clock.advance(SHORTEST - later)
    assert breaker.claim() is None
    assert breaker.throttled(None) == 4


def test_one_that_comes_when_the_back_off_is_over_counts_anew(breaker, clock):
    breaker.throttled(None)
    clock.advance(SHORTEST)
    assert [breaker.throttled(None) for _ in range(100)] == [4] * 100
    assert breaker.claim() == Hold("throttled", 4)


def test_after_the_back_off_one_goes_first(breaker, clock):
    breaker.throttled(None)
    clock.advance(SHORTEST)
    assert [breaker.claim() for _ in range(3)] == [None, *[Hold("throttled", SHORTEST)] * 2]
    assert not breaker.is_calm
    clock.advance(SHORTEST)  # nobody has heard of it
    assert [breaker.claim() for _ in range(2)] == [None, Hold("throttled", SHORTEST)]


def test_what_graph_says_wins(breaker, clock):
    assert breaker.throttled(300) == 300
    assert breaker.throttled(None) == 300  # another call that was under way
    assert breaker.throttled(5) == 300
    assert breaker.throttled(400) == 400
    clock.advance(399)
    assert breaker.claim() == Hold("throttled", 1)
    clock.advance(1)
    assert breaker.claim() is None


@pytest.mark.parametrize(
    ("named", "wait"), [(61, 61), (3599, 3599), (3600, 3600), (86_400, 3600), (float("inf"), 3600)]
)
def test_what_graph_says_counts_for_an_hour_at_most(breaker, named, wait):
    assert wait <= LONGEST_NAMED
    assert breaker.throttled(named) == wait
    assert breaker.hold() == Hold("throttled", wait)


def test_an_answer_ends_the_back_off_and_its_growth(breaker, clock):
    for _ in range(4):
        clock.advance(breaker.throttled(None))
        assert breaker.claim() is None
    breaker.answered(breaker.era)
    assert breaker.is_calm
    assert [breaker.claim() for _ in range(10)] == [None] * 10
    assert breaker.throttled(None) == SHORTEST


@pytest.mark.parametrize("seconds", [None, 1, 300])
def test_an_answer_to_a_call_made_before_does_not_end_the_back_off(breaker, clock, seconds):
    before = breaker.era
    wait = breaker.throttled(seconds)
    for _ in range(3):
        breaker.answered(before)
    assert not breaker.is_calm
    assert breaker.claim() == Hold("throttled", wait)
    clock.advance(wait)
    between = breaker.era  # of a call that slipped through
    assert breaker.claim() is None
    for era in (before, between):
        breaker.answered(era)
        assert breaker.claim() == Hold("throttled", SHORTEST)
    breaker.answered(breaker.era)  # the probe's
    assert breaker.is_calm


def test_any_probe_since_then_may_end_it_however_slow_graph_is(breaker, clock):
    """One that took longer than it is to the next probe: else a slow Graph would throttle for ever."""
    clock.advance(breaker.throttled(None))
    eras = []
    for _ in range(3):
        assert breaker.claim() is None
        eras.append(breaker.era)
        clock.advance(SHORTEST)
    breaker.answered(eras[0])
    assert breaker.is_calm
    assert breaker.throttled(None) == SHORTEST


def test_but_none_from_before_graph_said_it_again(breaker, clock):
    clock.advance(breaker.throttled(None))
    eras = []
    for _ in range(2):
        assert breaker.claim() is None
        eras.append(breaker.era)
        clock.advance(SHORTEST)
    breaker.throttled(None)  # the answer to one of them
    for era in eras:
        breaker.answered(era)
    assert not breaker.is_calm


def test_nor_does_it_end_the_growth(breaker, clock):
    before = breaker.era
    clock.advance(breaker.throttled(None))
    breaker.claim()
    breaker.answered(before)
    assert breaker.throttled(None) == 2 * SHORTEST


def test_but_it_closes_an_open_one(breaker):
    before = breaker.era
    breaker.throttled(0.25)
    break_it(breaker)
    breaker.answered(before)
    assert breaker.claim() == Hold("throttled", 0.25)
    breaker.answered(breaker.era)
    assert breaker.is_calm


def test_an_answer_of_any_time_closes_a_breaker_that_failures_have_opened(breaker):
    before = breaker.era
    break_it(breaker)
    breaker.answered(before)
    assert breaker.is_calm


def test_a_back_off_that_graph_names_does_not_lengthen_one_that_it_does_not(breaker, clock):
    for seconds in (5, 7, 300):
        clock.advance(breaker.throttled(seconds))
        assert breaker.claim() is None
    waits = []
    for _ in range(3):
        waits.append(breaker.throttled(None))
        clock.advance(waits[-1])
        assert breaker.claim() is None
    assert waits == [2, 4, 8]


def test_a_back_off_that_an_answer_has_ended_is_over(breaker):
    breaker.throttled(3600)
    breaker.answered(breaker.era)
    assert breaker.throttled(None) == SHORTEST


def test_throttling_is_not_failing(breaker, clock):
    for _ in range(BURST - 1):
        breaker.failed()
    breaker.throttled(None)
    breaker.failed()
    clock.advance(SHORTEST)
    assert breaker.claim() is None
    breaker.answered(breaker.era)
    assert breaker.is_calm


def test_throttling_closes_an_open_one(breaker, clock):
    break_it(breaker)
    breaker.throttled(0.25)
    assert breaker.claim() == Hold("throttled", 0.25)
    clock.advance(0.25)
    assert breaker.claim() is None


def test_a_probe_of_a_throttled_graph_that_fails(breaker, clock):
    breaker.throttled(None)
    clock.advance(SHORTEST)
    assert breaker.claim() is None
    breaker.failed()
    assert not breaker.is_calm
    assert breaker.claim() == Hold("throttled", SHORTEST)


def test_both_at_once(breaker, clock):
    breaker.throttled(3)
    break_it(breaker)
    assert breaker.claim() == Hold("throttled", 3)
    clock.advance(3)
    assert [breaker.claim() for _ in range(2)] == [None, Hold("throttled", SHORTEST)]


@pytest.mark.parametrize("seconds", [None, 3600])
@pytest.mark.parametrize("again", [False, True])
def test_a_machine_set_back_is_not_locked(breaker, clock, seconds, again):
    break_it(breaker)
    breaker.throttled(seconds)
    break_it(breaker)
    clock.mono = 1.0  # a snapshot of long ago
    if again:  # a call that was under way comes back
        assert breaker.throttled(None) <= LONGEST
        clock.advance(LONGEST)
    asked = []
    for _ in range(int(SHORTEST) + 2):
        asked.append(breaker.claim())
        clock.advance(1)
    assert None in asked
    breaker.answered(breaker.era)
    assert breaker.claim() is None


def test_an_open_one_set_back_is_not_locked(breaker, clock):
    break_it(breaker)
    clock.mono = 1.0
    assert breaker.claim() is None
    assert breaker.claim() == Hold("unavailable", PROBE_EVERY)


def test_a_child_takes_a_new_lock(breaker):
    breaker._lock.acquire()  # by a thread that the child has not
    breaker.begin_anew()
    assert breaker.claim() is None
