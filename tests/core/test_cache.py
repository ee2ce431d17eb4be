"""What is known, and for how long."""

from __future__ import annotations

import random
import threading

import pytest

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
