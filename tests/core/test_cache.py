"""What is known, and for how long."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from cachetools import LRUCache

from fbguard.core.cache import FactCache, key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from tests.support import NOW, PATIENCE, FakeClock


def info(user: str = "1") -> TokenInfo:
    return TokenInfo(app_id="42", type="USER", is_valid=True, user_id=user)


def make(clock: FakeClock, **options: float) -> FactCache:
    return FactCache(clock, **({"ttl": 100, "negative_ttl": 10, "size": 3, "negative_size": 2} | options))


@pytest.fixture
def cache(clock):
    return make(clock)


def key(name: str) -> bytes:
    return key_of(Secret(name))


A, B, C, D = map(key, "abcd")


@pytest.mark.parametrize(("good", "ttl"), [(True, 100), (False, 10)])
@pytest.mark.parametrize("moved", [("wall",), ("mono",), ("wall", "mono")])
def test_a_fact_ends_by_the_clock_that_is_ahead(cache, clock, good, ttl, moved):
    cache.put(A, info(), good=good)
    for name in moved:
        setattr(clock, name, getattr(clock, name) + ttl - 0.5)
    assert cache.get(A).info == info()
    for name in moved:
        setattr(clock, name, getattr(clock, name) + 0.5)
    assert cache.get(A) is None
    assert len(cache) == good  # a no is gone; a good one can be stale


@pytest.mark.parametrize("behind", ["wall", "mono"])
def test_a_clock_set_back_prolongs_nothing(cache, clock, behind):
    cache.put(A, info(), good=True)
    setattr(clock, behind, getattr(clock, behind) - 3600)
    ahead = "mono" if behind == "wall" else "wall"
    setattr(clock, ahead, getattr(clock, ahead) + 99)
    assert cache.get(A) is not None
    setattr(clock, ahead, getattr(clock, ahead) + 1)
    assert cache.get(A) is None


NO_TIMES = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("broken", ["wall", "mono"])
@pytest.mark.parametrize("reading", NO_TIMES)
def test_nothing_is_stored_while_a_clock_gives_no_time(cache, clock, good, broken, reading):
    """When would it be over? Not even the facts that come later must suffer from it."""
    before = getattr(clock, broken)
    setattr(clock, broken, reading)
    assert cache.put(A, info(), good=good) is None
    setattr(clock, broken, before)
    assert (cache.get(A), cache.plain(A, frozenset()), len(cache)) == (None, None, 0)
    cache.put(A, info(), good=good)
    assert cache.get(A).info == info()
    clock.mono += 100
    assert cache.get(A) is None


@pytest.mark.parametrize("reading", NO_TIMES[:2])
def test_nothing_is_believed_while_a_clock_gives_no_time(cache, clock, reading):
    cache.put(A, info(), good=True)
    clock.wall = reading
    assert cache.plain(A, frozenset()) is None
    assert cache.get(A) is None
    assert cache.get(A, 50) is None
    assert cache.stale(A, 1000) is None
    clock.wall = NOW
    assert cache.plain(A, frozenset()) == cache.get(A, 50).info == info()


def test_the_time_to_judge_a_fact_at(cache, clock):
    assert cache.put(A, info(), good=True).now == NOW
    clock.mono += 20
    assert cache.get(A).now == NOW + 20
    clock.wall += 30
    assert cache.get(A).now == NOW + 30
    clock.wall -= 3600
    assert cache.get(A).now == NOW + 20


def test_two_stores(cache):
    cache.put(A, info(), good=True)
    for number in range(10):
        cache.put(key(str(number)), info(), good=False)
    assert cache.get(A) is not None
    assert len(cache) == 3


def test_a_fact_lies_in_one_store_only(cache):
    cache.put(A, info("1"), good=True)
    cache.put(A, info("2"), good=False)
    assert (cache.get(A).info.user_id, len(cache)) == ("2", 1)
    cache.put(A, info("3"), good=True)
    assert (cache.get(A).info.user_id, len(cache)) == ("3", 1)


def test_the_least_recently_used_goes_first(cache):
    for one in (A, B, C):
        cache.put(one, info(), good=True)
    assert cache.get(A)
    cache.put(D, info(), good=True)
    assert [bool(cache.get(one)) for one in (A, B, C, D)] == [True, False, True, True]


def test_forget(cache):
    cache.put(A, info(), good=True)
    cache.put(B, info(), good=False)
    for one in (A, B, C):
        cache.forget(one)
        assert cache.get(one) is None
    assert len(cache) == 0


@pytest.mark.parametrize("good", [True, False])
def test_what_was_forgotten_during_a_look_up_is_not_stored(cache, good):
    """Whether there was a fact or not."""
    for _ in range(2):
        mark = cache.mark()
        cache.forget(A)
        assert cache.put(A, info("old"), good=good, mark=mark) is None
        assert cache.get(A) is None
        again = cache.mark()
        assert cache.put(A, info("new"), good=good, mark=again).info.user_id == "new"
        assert cache.get(A).info.user_id == "new"


def test_nobody_elses_look_up_is_in_vain(cache):
    mark = cache.mark()
    cache.forget(B)
    assert cache.put(A, info(), good=True, mark=mark) is not None
    assert cache.put(A, info(), good=True) is not None  # nobody has asked for a mark


@pytest.mark.parametrize("good", [True, False])
def test_only_the_facts_that_were_meant_are_forgotten(cache, good):
    old, new = info("1"), info("1")
    assert old == new
    cache.put(A, old, good=True)
    cache.put(A, new, good=good)
    mark = cache.mark()
    cache.forget(A, old)
    assert (cache.get(A).info, cache.mark()) == (new, mark)
    cache.forget(A, new)
    assert cache.get(A) is None
    assert cache.mark() != mark


def test_facts_that_are_gone_are_forgotten_for_look_ups_under_way(cache):
    mark = cache.mark()
    cache.forget(A, info())
    assert cache.mark() != mark


def test_stale_facts_are_forgotten_by_their_copy(cache, clock):
    cache.put(A, info(), good=True)
    clock.advance(150)
    stale = cache.stale(A, 100)
    assert stale.info.stale
    cache.forget(A, stale.info)
    assert cache.stale(A, 100) is None


def test_a_new_fact_has_its_own_time(cache, clock):
    cache.put(A, info(), good=True)
    clock.advance(99)
    cache.put(A, info("2"), good=True)
    clock.advance(99)
    assert cache.get(A).info.user_id == "2"


def test_keys_tell_every_token_apart():
    tokens = [
        "a" * 20 + "x",
        "a" * 20 + "y",
        "A" * 20 + "x",
        "xaaaa",
        "yaaaa",
        "abc",
        "abc=",
        "abc==",
        "ab",
        "b",
    ]
    keys = [key(token) for token in tokens]
    assert len(set(keys)) == len(tokens)
    assert {len(one) for one in keys} == {32}
    assert not any(token.encode() in one for token in tokens[:6] for one in keys)


def test_64_threads():
    clock = FakeClock()
    cache = make(clock, size=50, negative_size=20)
    keys = [key(str(number)) for number in range(200)]
    faults: list[BaseException] = []
    barrier = threading.Barrier(64)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        barrier.wait(PATIENCE)
        try:
            for _ in range(500):
                number = dice.randrange(200)
                match dice.randrange(4):
                    case 0:
                        cache.put(keys[number], info(str(number)), good=dice.random() < 0.5)
                    case 1:
                        cache.forget(keys[number])
                    case _:
                        known = cache.get(keys[number])
                        assert known is None or known.info.user_id == str(number)
                clock.mono += 0.01
                assert len(cache) <= 70
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 3)
    assert faults == []
    assert len(cache._good) <= 50
    assert len(cache._bad) <= 20


# -- users, and the time at which a token was first seen ----------------------------------------


def keys_of(cache: FactCache, user: str) -> set[bytes]:
    return set(cache._users.keys_of(user))


def test_forget_user_takes_all_of_a_users_tokens_and_nobody_elses(cache):
    cache.put(A, info("1"), good=True)
    cache.put(B, info("1"), good=False)
    cache.put(C, info("2"), good=True)
    cache.put(D, TokenInfo(app_id="42", type="APP", is_valid=True), good=True)
    assert {seen.key for seen in cache.forget_user("1")} == {A, B}
    assert [bool(cache.peek(one)) for one in (A, B, C, D)] == [False, False, True, True]
    assert cache.forget_user("1") == cache.forget_user("") == []
    assert len(cache._users) == 1


def test_a_forgotten_user_comes_with_facts_and_times(cache, clock):
    cache.put(A, info("1"), good=True)
    clock.advance(500)  # its time is over: it is known all the same
    (seen,) = cache.forget_user("1")
    assert (seen.key, seen.info, seen.since) == (A, info("1"), NOW)


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_token_is_first_seen_once(cache, clock, first, second):
    cache.put(A, info(), good=first)
    clock.advance(50)
    cache.put(A, info(), good=second)
    (seen,) = cache.forget_user("1")
    assert seen.since == NOW


def test_a_wall_clock_set_back_makes_a_token_older_never_younger(cache, clock):
    cache.put(A, info(), good=True)
    clock.wall -= 100
    cache.put(A, info(), good=True)
    clock.wall += 200
    cache.put(A, info(), good=True)
    assert cache.forget_user("1")[0].since == NOW - 100


def test_a_token_that_changes_its_user_is_the_new_ones(cache):
    for good in (True, False, True, True):
        cache.put(A, info("1"), good=good)
        cache.put(A, info("2"), good=not good)
        assert (keys_of(cache, "1"), keys_of(cache, "2")) == (set(), {A})
        cache.put(A, info("3"), good=not good)  # in the same store, too
        assert (keys_of(cache, "2"), keys_of(cache, "3")) == (set(), {A})
    cache.put(A, TokenInfo(app_id="", type="", is_valid=False), good=False)
    assert len(cache._users) == 0


@pytest.mark.parametrize("good", [True, False])
def test_what_goes_from_a_store_goes_from_the_index(clock, good):
    cache = make(clock, size=3, negative_size=3)
    for number in range(100):
        cache.put(key(str(number)), info(str(number % 50)), good=good)
    assert len(cache._users) == 3
    clock.advance(100)
    for number in range(100):
        cache.get(key(str(number)))
    assert len(cache._users) == (3 if good else 0)
    for number in range(100):
        cache.forget(key(str(number)))
    assert len(cache._users) == 0


def test_a_user_of_ten_thousand_tokens(clock):
    cache = make(clock, size=20_000)
    keys = [key(str(number)) for number in range(10_000)]
    for one in keys:
        cache.put(one, info("1"), good=True)
    cache.put(A, info("2"), good=True)
    assert len(cache.forget_user("1")) == 10_000
    assert (len(cache), len(cache._users)) == (1, 1)


@pytest.mark.parametrize("good", [True, False])
def test_what_is_found_out_of_a_user_forgotten_meanwhile_is_not_stored(cache, good):
    mark = cache.mark()
    cache.forget_user("1")
    assert cache.put(A, info("1"), good=good, mark=mark) is None
    assert cache.put(B, info("2"), good=good, mark=mark) is not None
    assert cache.put(A, info("1"), good=good, mark=cache.mark()) is not None


def test_is_forgotten(cache):
    mark = cache.mark()
    assert not cache.is_forgotten(A, "1", mark)
    cache.forget(A)
    assert cache.is_forgotten(A, "1", mark)
    assert not cache.is_forgotten(B, "1", mark)
    cache.forget_user("1")
    assert cache.is_forgotten(B, "1", mark)
    assert not cache.is_forgotten(B, None, mark)
    assert not cache.is_forgotten(A, "1", cache.mark())


def test_a_flood_of_log_outs_makes_look_ups_begin_anew(cache):
    """Who was forgotten ten thousand log-outs ago is not remembered: nothing from before counts."""
    mark = cache.mark()
    for number in range(10_001):
        cache.forget_user(f"u{number}")
    assert cache.is_forgotten(A, "1", mark)
    assert cache.put(A, info("1"), good=True, mark=mark) is None
    assert len(cache._forgotten._last) == 10_000


def test_what_was_forgotten_for_a_known_user_counts_whatever_graph_says_next(cache):
    """The answer to a question from before may name another user, or nobody: it is of before all the same."""
    cache.put(A, info("1"), good=True)
    mark = cache.mark()
    cache.forget_user("1")
    nobody = TokenInfo(app_id="", type="", is_valid=False)
    assert cache.put(A, nobody, good=False, mark=mark) is None
    assert cache.put(A, info("2"), good=True, mark=mark) is None


class _Watched(OrderedDict[Any, int]):
    """Has somebody look after each step of a change."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.look = look

    def pop(self, *args: Any) -> Any:
        found = super().pop(*args)
        self.look()
        return found

    def __setitem__(self, name: Any, value: int) -> None:
        super().__setitem__(name, value)
        self.look()


@pytest.mark.parametrize("others", [0, 10_000], ids=["it again", "the last one that fits"])
def test_what_was_forgotten_is_so_at_every_moment(cache, others):
    """For threads that ask in the middle of somebody's next call, too: the first one has returned."""
    mark = cache.mark()
    cache.forget(A)
    for number in range(others - 1):
        cache.forget(key(str(number)))
    seen: list[bool] = []
    askers: list[threading.Thread] = []

    def look() -> None:
        askers.append(threading.Thread(target=lambda: seen.append(cache.is_forgotten(A, None, mark))))
        askers[-1].start()
        askers[-1].join(0.1)  # it may have to wait until the change is made

    before = cache._forgotten._last
    cache._forgotten._last = _Watched(look)
    cache._forgotten._last.update(before)
    cache.forget(B if others else A)
    for one in askers:
        one.join(PATIENCE)
    assert askers
    assert all(seen)


def test_the_index_under_64_threads():
    clock = FakeClock()
    cache = make(clock, size=40, negative_size=20)
    keys = [key(str(number)) for number in range(100)]
    faults: list[BaseException] = []
    barrier = threading.Barrier(64)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        barrier.wait(PATIENCE)
        try:
            for _ in range(300):
                one, user = dice.choice(keys), str(dice.randrange(10))
                match dice.randrange(5):
                    case 0:
                        cache.forget(one)
                    case 1:
                        assert all(seen.info.user_id == user for seen in cache.forget_user(user))
                    case _:
                        cache.put(one, info(user), good=dice.random() < 0.5, mark=cache.mark())
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 3)
    assert faults == []
    stored = {
        one: entry.info.user_id for store in (cache._good, cache._bad) for one, entry in store.entries.items()
    }
    indexed = {one: user for user in map(str, range(10)) for one in cache._users.keys_of(user)}
    assert indexed == stored
    assert len(cache._users) == len(set(stored.values()))


# -- what is left of a token that was forgotten ----------------------------------------


@pytest.mark.parametrize("forget", ["token", "user"])
@pytest.mark.parametrize("good", [True, False])
def test_a_forgotten_token_is_no_younger_when_it_comes_back(cache, clock, forget, good):
    cache.put(A, info(), good=good)
    clock.advance(50)
    if forget == "token":
        assert cache.forget(A)
    else:
        cache.forget_user("1")
    assert (cache.since(A), len(cache)) == (NOW, 0)
    assert [(seen.key, seen.since) for seen in cache.seen_of("1")] == [(A, NOW)]
    clock.advance(50)
    cache.put(A, info(), good=True)
    assert cache.since(A) == NOW
    assert [(seen.key, seen.since) for seen in cache.seen_of("1")] == [(A, NOW)]


def test_of_tokens_that_nobody_knows_nothing_is_left(cache):
    cache.forget(A)
    cache.forget_user("1")
    assert cache.since(A) is None
    assert cache.seen_of("1") == []
    assert len(cache._gone) == 0


def test_what_is_left_is_bounded(clock):
    cache = make(clock, size=20_000)
    for number in range(10_050):
        cache.put(key(str(number)), info(str(number)), good=True)
        cache.forget(key(str(number)))
    assert len(cache._gone) == 10_000
    assert cache.since(key("0")) is None
    assert cache.since(key("10049")) == NOW


def test_who_was_seen_elsewhere_before_was_seen_then(cache, clock):
    cache.put(A, info(), good=True, since=NOW - 70)
    assert cache.since(A) == NOW - 70
    cache.put(A, info(), good=True, since=NOW - 5)
    assert cache.since(A) == NOW - 70
    cache.put(B, info(), good=True, since=NOW + 70)
    assert cache.since(B) == NOW


def test_a_fact_that_is_some_seconds_old_has_the_rest_of_its_time(cache, clock):
    known = cache.put(A, info(), good=True, age=60)
    assert (known.now, known.age) == (NOW, 60)
    clock.advance(39.5)
    assert cache.get(A).now == NOW + 39.5
    clock.advance(0.5)
    assert cache.get(A) is None


def test_the_era_in_which_the_store_was_asked(cache):
    assert cache.put(A, info(), good=True, era=3).era == 3
    assert cache.get(A).era == 3
    cache.put(A, info(), good=True)
    assert cache.get(A).era is None


class _Locked(LRUCache[Any, Any]):
    """An LRU cache changes when it is read, too: without the lock threads would damage it."""

    cache: FactCache

    def __getitem__(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        assert self.cache._lock.locked()
        return super().__getitem__(name, *args, **kwargs)


def test_what_is_left_is_read_under_the_lock(cache):
    cache.put(A, info(), good=True)
    cache.forget(A)
    locked = _Locked(10)
    locked.cache = cache
    with cache._lock:
        for one, seen in cache._gone.items():
            locked[one] = seen
    cache._gone = locked
    assert cache.since(A) == NOW
    assert cache.seen_of("1") != []
    cache.put(A, info(), good=True)
    cache.forget(A)
