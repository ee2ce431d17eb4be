"""How close together calls of Graph follow one another."""

from __future__ import annotations

import math
import threading

import pytest

from fbguard.core.pace import REMEMBERED, SLOW_FROM, SLOWEST, Pace
from tests.support import PATIENCE, FakeClock

FOREVER = math.inf


def make(clock: FakeClock, most: float | None = None) -> Pace:
    return Pace(clock.monotonic, most)


def go(pace: Pace, clock: FakeClock, speed: float, seconds: float = 20) -> None:
    """Make calls at a speed for a while; the last one is due just now."""
    for _ in range(int(speed * seconds)):
        clock.advance(1 / speed)
        pace.book(1, FOREVER)


def speed(pace: Pace) -> float:
    """Return the calls a second that are allowed now."""
    pace.book(1, FOREVER)
    first = pace.book(1, FOREVER)
    interval = pace.book(1, FOREVER) - first
    return 1 / interval if interval else math.inf


# -- max_calls_per_second --------------------------------------------------------------------------------


def test_without_a_limit_nobody_waits(clock):
    pace = make(clock)
    assert [pace.book(50, 0) for _ in range(100)] == [0] * 100
    assert pace.most_at_once == math.inf
    assert not pace.is_slowed


def test_calls_are_spaced(clock):
    pace = make(clock, 4)
    assert [pace.book(1, FOREVER) for _ in range(5)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_several_calls_take_the_room_of_several(clock):
    pace = make(clock, 10)
    assert [pace.book(calls, FOREVER) for calls in (5, 1, 20, 1)] == pytest.approx([0, 0.5, 0.6, 2.6])


def test_a_pause_saves_up_no_burst(clock):
    pace = make(clock, 4)
    pace.book(1, FOREVER)
    clock.advance(3600)
    assert [pace.book(1, FOREVER) for _ in range(3)] == pytest.approx([0, 0.25, 0.5])


def test_beyond_patience_nothing_is_booked(clock):
    pace = make(clock, 1)
    assert [pace.book(1, 2.5) for _ in range(6)] == [0, 1, 2, 3, 3, 3]
    assert pace.book(1, 3) == 3  # the room is still there


def test_a_machine_set_back_does_not_wait(clock):
    pace = make(clock, 1)
    for _ in range(100):
        pace.book(1, FOREVER)
    clock.mono = 1.0
    assert [pace.book(1, FOREVER) for _ in range(2)] == [0, 1]


@pytest.mark.parametrize(("most", "at_once"), [(0.5, 1), (10, 1), (11, 1.1), (200, 20), (2000, 200)])
def test_a_tenth_of_a_second_goes_out_at_once(clock, most, at_once):
    assert make(clock, most).most_at_once == pytest.approx(at_once)


# -- usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "left"), [(80, 1), (85, 0.75), (90, 0.5), (95, 0.25), (99, 0.05)])
def test_near_graphs_limit_calls_are_slowed(clock, percent, left):
    pace = make(clock)
    go(pace, clock, 200)
    pace.used(percent)
    assert pace.is_slowed
    assert speed(pace) == pytest.approx(200 * left, rel=0.01)
    assert pace.most_at_once == pytest.approx(20 * left, rel=0.01)


@pytest.mark.parametrize("percent", [80, 90, 99, 99.9])
def test_some_calls_always_pass(clock, percent):
    pace = make(clock)
    pace.used(percent)  # nobody has called yet
    assert speed(pace) == pytest.approx(SLOWEST)
    assert pace.most_at_once == 1


@pytest.mark.parametrize("percent", [0.1, 50, SLOW_FROM - 0.1])
def test_far_from_graphs_limit_they_are_not(clock, percent):
    pace = make(clock)
    pace.used(percent)
    assert not pace.is_slowed
    assert speed(pace) == math.inf


@pytest.mark.parametrize("percent", [0.1, 50, SLOW_FROM - 0.1])
def test_below_the_limit_all_is_over(clock, percent):
    pace = make(clock)
    pace.used(99)
    pace.used(percent)
    assert not pace.is_slowed
    assert speed(pace) == math.inf
    assert pace.most_at_once == math.inf


def test_the_full_speed_is_that_before_the_slowing(clock):
    """Else each header would halve what the last one had left."""
    pace = make(clock)
    go(pace, clock, 200)
    for percent, expected in [(90, 100), (90, 100), (95, 50), (85, 150), (80, 200)]:
        pace.used(percent)
        go(pace, clock, 20)
        assert speed(pace) == pytest.approx(expected, rel=0.01)


def test_usage_is_remembered_for_a_minute(clock):
    pace = make(clock)
    pace.used(99)
    clock.advance(REMEMBERED - 0.5)
    assert pace.is_slowed
    clock.advance(0.5)
    assert not pace.is_slowed
    assert speed(pace) == math.inf


def test_each_header_counts_anew(clock):
    pace = make(clock)
    for _ in range(5):
        pace.used(99)
        clock.advance(REMEMBERED - 1)
        assert pace.is_slowed


@pytest.mark.parametrize(("most", "expected"), [(10, 10), (150, 100), (1000, 100)])
def test_the_slower_of_both_counts(clock, most, expected):
    pace = make(clock, most)
    for _ in range(4000):  # 200 a second, whatever it says
        clock.advance(1 / 200)
        pace._count(clock.mono, 1)
    pace.used(90)
    assert speed(pace) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("pause", "expected"), [(0, 200), (9.9, 200), (21, 5), (3600, 5)])
def test_what_was_long_ago_does_not_count(clock, pause, expected):
    pace = make(clock)
    go(pace, clock, 200)
    clock.advance(pause)
    pace.book(1, FOREVER)  # a look at the clock
    pace.used(80)
    assert speed(pace) == pytest.approx(expected, rel=0.02)


def test_calls_of_a_batch_are_counted_each(clock):
    pace = make(clock)
    for _ in range(80):
        clock.advance(0.25)
        pace.book(50, FOREVER)
    pace.used(80)
    assert speed(pace) == pytest.approx(200, rel=0.03)


def test_a_machine_set_back_counts_anew(clock):
    pace = make(clock)
    go(pace, clock, 200)
    clock.mono = 1.0
    pace.book(1, FOREVER)
    pace.used(80)
    assert speed(pace) == pytest.approx(SLOWEST)


# -- threads ---------------------------------------------------------------------------------------------


def test_threads_get_a_place_each(clock):
    pace, barrier, waits = make(clock, 10), threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(PATIENCE)
        waits.extend([pace.book(1, FOREVER) for _ in range(100)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(waits) == pytest.approx([number / 10 for number in range(800)])


def test_a_child_takes_a_new_lock(clock):
    pace = make(clock, 1)
    pace._lock.acquire()  # by a thread that the child has not
    pace.begin_anew()
    assert pace.book(1, FOREVER) == 0
