"""The checker finds what it is there for, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from tests.fleet.history import (
    Diary,
    End,
    History,
    Verdict,
    faults,
    mix_ups,
    propagation,
    read,
    relapses,
    statuses,
    wrong_accepts,
    wrong_rejects,
)

INFINITE = float("inf")


def verdict(
    start: float, status: int, *, token: int = 1, pid: int = 10, took: float = 0.1, user: str = "1"
) -> Verdict:
    return Verdict(start, start + took, token, status, pid, user)


def end(asked: float, answered: float, *, token: int = 1, pid: int = 10, is_done: bool = True) -> End:
    return End(asked, answered, token, is_done, pid)


def history(*parts: Verdict | End) -> History:
    return History(
        sorted((one for one in parts if isinstance(one, Verdict)), key=lambda one: one.start),
        sorted((one for one in parts if isinstance(one, End)), key=lambda one: one.asked),
    )


def starts(found: Iterable[Verdict]) -> list[float]:
    return [one.start for one in found]


def within(seconds: float):
    return lambda end: end.answered + seconds


def test_an_accept_is_wrong_when_it_began_after_the_bound():
    said = history(end(5, 6), *(verdict(start, 200) for start in (4, 5.5, 6.5, 7, 7.1, 9)))
    assert starts(wrong_accepts(said, within(1))) == [7.1, 9]
    assert starts(wrong_accepts(said, within(0))) == [6.5, 7, 7.1, 9]
    assert wrong_accepts(said, lambda _: INFINITE) == []


def test_an_accept_that_began_before_may_end_after_the_bound():
    assert wrong_accepts(history(end(5, 6), verdict(6.9, 200, took=5)), within(1)) == []


def test_only_an_acknowledged_end_of_the_same_token_makes_an_accept_wrong():
    accepts = [verdict(9, 200), verdict(9, 200, token=2)]
    assert wrong_accepts(history(*accepts), within(1)) == []
    assert wrong_accepts(history(end(5, 6, is_done=False), *accepts), within(1)) == []
    found = wrong_accepts(history(end(5, 6, token=2), *accepts), within(1))
    assert [one.token for one in found] == [2]


def test_the_first_acknowledgement_counts():
    said = history(end(1, 2, is_done=False), end(3, 4), end(8, 9), verdict(4.5, 200), verdict(5.5, 200))
    assert starts(wrong_accepts(said, within(1))) == [5.5]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_what_is_no_accept_is_no_wrong_one(status):
    assert wrong_accepts(history(end(5, 6), verdict(9, status)), within(1)) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_wrong_when_nobody_had_asked_for_the_end(status):
    said = history(end(5, 6), verdict(4, status), verdict(4.95, status), verdict(7, status))
    assert starts(wrong_rejects(said)) == [4]  # the second was under way when the end was asked for
    assert starts(wrong_rejects(history(verdict(4, status)))) == [4]
    assert wrong_rejects(history(end(1, 2, is_done=False), verdict(4, status))) == []  # may be, or not
    assert starts(wrong_rejects(history(end(1, 2, token=2), verdict(4, status)))) == [4]


def test_an_unavailable_is_no_refusal():
    assert wrong_rejects(history(verdict(4, 503), verdict(5, 200))) == []


def test_a_worker_that_refused_does_not_accept_later():
    said = history(
        verdict(1, 200), verdict(2, 401), verdict(2.05, 200), verdict(3, 200), verdict(3, 200, pid=11)
    )
    assert [(one.start, one.pid) for one in relapses(said)] == [(3, 10)]
    assert relapses(history(verdict(1, 401), verdict(2, 200, token=2), verdict(3, 503))) == []


def test_somebody_else():
    said = history(verdict(1, 200), verdict(2, 200, user="2"), verdict(3, 401, user="-"))
    assert starts(mix_ups(said, {1: "1"})) == [2]


def test_faults_and_statuses():
    said = history(*(verdict(status, status) for status in (500, 200, 503, 502, 401, 200)))
    assert starts(faults(said)) == [500, 502]
    assert statuses(said.verdicts) == {200: 2, 401: 1, 500: 1, 502: 1, 503: 1}


def test_propagation_is_told_by_worker():
    said = history(
        end(4, 5, pid=9),
        verdict(4.9, 200), verdict(5.1, 200), verdict(5.2, 200), verdict(5.5, 401), verdict(6, 401),
        verdict(4.9, 401, pid=11), verdict(5.25, 401, pid=11),
        verdict(5.7, 401, pid=9),  # it was the one that was told
        verdict(5.1, 200, pid=12),  # and this one was not asked any more
        verdict(5.1, 401, token=2),
    )  # fmt: skip
    found = propagation(said)
    assert set(found) == {10, 11}
    assert found[10].accepts == pytest.approx([0.2])
    assert found[10].refusals == pytest.approx([0.5])
    assert found[11].accepts == [0]
    assert found[11].refusals == pytest.approx([0.25])


def test_a_diary_is_read_as_it_was_written(tmp_path):
    diary = Diary(tmp_path)
    diary.verdict(2.25, 2.5, "7", 200, "100007")
    diary.verdict(1.0, 3.0, "8", 401, "-")
    diary.end(2.0, 2.125, "7", is_done=True)
    diary.end(1.0, 2.5, "8", is_done=False)
    pid = os.getpid()
    assert read(tmp_path) == History(
        [Verdict(1.0, 3.0, 8, 401, pid, "-"), Verdict(2.25, 2.5, 7, 200, pid, "100007")],
        [End(1.0, 2.5, 8, False, pid), End(2.0, 2.125, 7, True, pid)],
    )


def test_a_child_has_a_diary_of_its_own(tmp_path, monkeypatch):
    diary, parent, child = Diary(tmp_path), os.getpid(), 1
    diary.verdict(1.0, 2.0, "7", 200, "1")
    monkeypatch.setattr(os, "getpid", lambda: child)  # as in a process that was forked
    diary.verdict(3.0, 4.0, "7", 401, "-")
    assert [(one.pid, one.status) for one in read(tmp_path).verdicts] == [(parent, 200), (child, 401)]
