"""What was forgotten when: a look-up that began before must learn that it lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbguard.core.generations import Generations

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.mark.parametrize("name", [KEY, "1001", b"", ""])
def test_who_began_before_has_lost(name):
    generations = Generations(5)
    mark = generations.now
    assert not generations.is_past(mark)
    assert not generations.since(mark, name)
    generations.note(name)
    assert generations.is_past(mark)
    assert generations.since(mark, name)


def test_who_begins_afterwards_has_not():
    generations = Generations(5)
    generations.note(KEY)
    mark = generations.now
    assert not generations.is_past(mark)
    assert not generations.since(mark, KEY)


def test_again_counts_again():
    generations = Generations(5)
    for _ in range(20):
        mark = generations.now
        generations.note(KEY)
        assert generations.since(mark, KEY)
        assert not generations.since(generations.now, KEY)


def test_nobody_else_has_lost():
    generations = Generations(5)
    mark = generations.now
    generations.note(KEY)
    assert not generations.since(mark, OTHER)
    assert not generations.since(mark, None)
    assert not generations.since(mark)
    assert generations.since(mark, OTHER, None, KEY)


def test_a_key_is_no_user():
    generations = Generations(5)
    mark = generations.now
    generations.note(b"1001")
    assert not generations.since(mark, "1001")
    generations.note("1002")
    assert not generations.since(mark, b"1002")


def test_what_is_no_longer_remembered_may_have_been():
    """A look-up that a flood has outlasted is asked for anew, rather than believed."""
    generations = Generations(3)
    mark = generations.now
    generations.note(KEY)
    for number in range(3):
        generations.note(f"{number}")
    assert generations.since(mark, KEY)
    assert generations.since(mark, OTHER)
    assert not generations.since(mark + 1, OTHER)  # from there on everything is remembered
    assert generations.since(mark + 1, "0")


def test_what_was_forgotten_again_is_not_the_oldest():
    generations = Generations(2)
    generations.note("a")
    generations.note("b")
    mark = generations.now
    generations.note("a")
    generations.note("c")  # "b" goes, not "a"
    assert generations.since(mark, "a")
    assert not generations.since(mark, "b")


def test_the_number_is_bounded():
    generations = Generations(10)
    for number in range(1000):
        generations.note(str(number))
        generations.note(KEY)
    assert len(generations._last) == 10
    assert generations.now == 2000


names = st.sampled_from([b"a", b"b", "a", "b", "c"])


@given(before=st.lists(names, max_size=8), after=st.lists(names, max_size=8), most=st.integers(1, 6))
def test_nothing_forgotten_is_ever_missed(before, after, most):
    """It may say yes too often, when it is too small; never no where it is yes."""
    generations = Generations(most)
    for name in before:
        generations.note(name)
    mark = generations.now
    for name in after:
        generations.note(name)
    for name in (b"a", b"b", "a", "b", "c"):
        if name in after:
            assert generations.since(mark, name)
        elif most >= 5:
            assert not generations.since(mark, name)
    assert generations.is_past(mark) == bool(after)
