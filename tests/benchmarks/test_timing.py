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


def test_contenders_take_turns_and_their_order_changes():
    calls = []
    contenders = {name: contender(calls, name, [0.0] * 41) for name in ("a", "b", "c")}
    interleaved(contenders, rounds=20, requests=9)
    names = "".join(name for name, _, _ in calls)
    assert names[:3] == "abc"  # once, each
    assert names[3::2] == names[4::2]  # each before it counts
    rounds = [names[start : start + 6 : 2] for start in range(3, len(names), 6)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 3
    assert [count for _, count, _ in calls[3:]] == [2, 9] * 60


def test_the_warm_up_is_not_counted_and_means_are_per_request():
    found = interleaved(
        {"a": contender([], "a", [99.0, 50.0, 4e-6, 60.0, 2e-6, 70.0, 9e-6])}, rounds=3, requests=2
    )
    assert found == {"a": Spread(pytest.approx(1.0), pytest.approx(2.0), pytest.approx(4.5))}


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_while_timed(was_on):
    calls = []
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    try:
        (gc.enable if was_on else gc.disable)()
        interleaved({"a": contender(calls, "a", [0.0, 0.0, 1e-6])}, rounds=1, requests=5)
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
    assert calls[1:] == [("a", 1, False), ("a", 5, False)]
    assert gc.get_freeze_count() == frozen


def test_the_collector_is_back_after_a_failure():
    before = gc.isenabled()
    with pytest.raises(StopIteration):
        interleaved({"a": contender([], "a", [0.0])}, rounds=1, requests=1)
    assert gc.isenabled() is before
