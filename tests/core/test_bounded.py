"""The bounded table: its size, and who goes first."""

import random

import pytest

from fbguard.core.bounded import Bounded


class Entry:
    def __init__(self, used=False):
        self.used = used


def key(number):
    return b"%d" % number


def test_the_oldest_goes_first():
    table = Bounded(3)
    for number in range(3):
        assert table.put(key(number), Entry()) == []
    assert [one for one, _ in table.put(key(3), Entry())] == [key(0)]
    assert list(table.entries) == [key(1), key(2), key(3)]


def test_who_was_used_gets_a_second_chance_and_no_third():
    table = Bounded(2)
    table.put(key(0), Entry(used=True))
    table.put(key(1), Entry())
    assert [one for one, _ in table.put(key(2), Entry())] == [key(1)]
    assert [one for one, _ in table.put(key(3), Entry())] == [key(0)] or key(0) not in table.entries


def test_the_newest_stays_where_all_are_used():
    table = Bounded(3)
    for number in range(3):
        table.put(key(number), Entry(used=True))
    table.put(key(3), Entry())
    assert key(3) in table.entries
    assert len(table) == 3


def test_an_entry_again_takes_no_room():
    table = Bounded(2)
    table.put(key(0), Entry())
    table.put(key(1), Entry())
    again = Entry()
    assert table.put(key(0), again) == []
    assert table.entries[key(0)] is again


def test_making_room_takes_no_longer_than_a_little():
    table = Bounded(10_000)
    for number in range(10_000):
        table.put(key(number), Entry(used=True))
    table.put(b"new", Entry())
    assert sum(not entry.used for entry in table.entries.values()) <= 34


@pytest.mark.parametrize("most", [1, 7])
def test_whatever_comes_it_is_bounded_and_so_is_its_queue(most):
    table, chance = Bounded(most), random.Random(4)
    held = {}
    for _ in range(5000):
        one = key(chance.randrange(20))
        if chance.random() < 0.4:
            assert (table.pop(one) is None) == (one not in held)
            held.pop(one, None)
        else:
            entry = Entry(used=chance.random() < 0.5)
            gone = table.put(one, entry)
            held[one] = entry
            for dropped, its in gone:
                assert held.pop(dropped) is its
        assert table.entries == held
        assert len(table) <= most
        assert len(table._queue) <= 2 * most + 130
