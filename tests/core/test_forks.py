"""Who is told in a forked child, and of what. Real children are in test_background.py and the row J07."""

from __future__ import annotations

import gc
import weakref

import pytest

from fbguard.core import forks


class Thing:
    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error
        self.times = 0
        forks.each_in_child(self)

    def begin_anew(self) -> None:
        self.times += 1
        if self._error is not None:
            raise self._error


@pytest.fixture(autouse=True)
def child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a child that has inherited nothing but what the test makes."""
    monkeypatch.setattr(forks, "_hooks", [])
    monkeypatch.setattr(forks, "_each", set())
    monkeypatch.setattr(forks, "_pid", 0)


def test_one_hook_that_fails_keeps_no_other_from_its_work(caplog):
    called: list[int] = []

    def failing() -> None:
        raise SystemExit

    for hook in (lambda: called.append(1), failing, lambda: called.append(2)):
        forks.in_child(hook)
    forks.check()
    forks.check()
    assert called == [1, 2]
    assert "SystemExit" in caplog.text


def test_each_begins_anew_once_whatever_another_raises(caplog):
    things = [Thing(SystemExit()) if number % 2 else Thing() for number in range(10)]
    forks.check()
    forks.check()
    assert [thing.times for thing in things] == [1] * 10
    assert caplog.text.count("could not be made anew in a forked child") == 5


def test_who_is_gone_is_forgotten():
    thing = Thing()
    gone = weakref.ref(thing)
    assert len(forks._each) == 1
    del thing
    gc.collect()
    assert gone() is None
    assert not forks._each
    forks.check()
