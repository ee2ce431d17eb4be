"""Contenders take turns, and the garbage collector is left as it was found."""

import gc

import pytest

from benchmarks.timing import Spread, interleaved


def contender(calls, name, seconds):
    left = iter(seconds)

    def serve(count):
        calls.append((name, count, gc.isenabled()))
        return next(left)

    return serve


def test_contenders_take_turns_and_the_first_changes():
    calls = []
    contenders = {name: contender(calls, name, [0.0, *[1e-6] * 4]) for name in ("a", "b", "c")}
    interleaved(contenders, rounds=4, requests=1)
    assert "".join(name for name, _, _ in calls) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_the_warm_up_is_not_counted_and_means_are_per_request():
    found = interleaved({"a": contender([], "a", [99.0, 4e-6, 2e-6, 9e-6])}, rounds=3, requests=2)
    assert found == {"a": Spread(pytest.approx(1.0), pytest.approx(2.0), pytest.approx(4.5))}


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_while_timed(was_on):
    calls = []
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    try:
        (gc.enable if was_on else gc.disable)()
        interleaved({"a": contender(calls, "a", [0.0, 1e-6])}, rounds=1, requests=5)
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
    assert calls[1:] == [("a", 5, False)]
    assert gc.get_freeze_count() == frozen


def test_the_collector_is_back_after_a_failure():
    before = gc.isenabled()
    with pytest.raises(StopIteration):
        interleaved({"a": contender([], "a", [0.0])}, rounds=1, requests=1)
    assert gc.isenabled() is before
