"""The registry of open connections: who is told to end, when, and what is left of those that are closed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import random
import threading
import weakref
from contextlib import nullcontext

import pytest

from fbguard import TokenInfo
from fbguard.core import background
from fbguard.core.reasons import Finding
from fbguard.revocation import live
from fbguard.revocation.live import LiveConnections, Watch
from tests.support import NOW, PATIENCE, TOKEN, FakeClock, FakeGraph, make_guard, valid, wait_until

ENDED = Finding("session_invalidated")
NEVER = 0
HOUR = NOW + 3600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock) -> LiveConnections:
    return LiveConnections(clock)


def facts(expires: int = HOUR, user: str | None = "1001", issued: int = 0) -> TokenInfo:
    graph = FakeGraph()
    graph.default = valid(expires_at=expires, user_id=user, issued_at=issued or ...)
    with make_guard(graph) as guard:
        return guard.check(TOKEN)


def opened(registry: LiveConnections, key: bytes = b"key", **about: object) -> tuple[Watch, list[str]]:
    said: list[str] = []
    return registry.watch(key, facts(**about), lambda finding: said.append(finding.reason)), said  # type: ignore[arg-type]


def test_a_connection_ends_with_its_tokens_time_once(registry, clock):
    _, said = opened(registry)
    clock.advance(3599)
    registry.tick()
    assert said == []
    clock.advance(1)
    registry.tick()
    registry.tick()
    assert said == ["expired"]


@pytest.mark.parametrize("moved", ["wall", "mono"])
def test_the_stricter_clock_ends_a_connection(registry, clock, moved):
    _, said = opened(registry)
    setattr(clock, moved, getattr(clock, moved) + 3600)
    registry.tick()
    assert said == ["expired"]


def test_a_wall_clock_set_back_prolongs_nothing(registry, clock):
    _, said = opened(registry)
    clock.advance(3600)
    clock.wall -= 86_400
    registry.tick()
    assert said == ["expired"]


def test_ending_a_token_ends_its_connections_and_no_others(registry):
    (_, one), (_, two), (_, other) = opened(registry), opened(registry), opened(registry, b"other")
    registry.end_token(b"key", ENDED)
    registry.end_token(b"nobody's", ENDED)
    assert (one, two, other) == (["session_invalidated"], ["session_invalidated"], [])


def test_ending_a_user_spares_tokens_issued_later(registry, clock):
    _, older = opened(registry, b"1", issued=NOW - 10)
    _, newer = opened(registry, b"2", issued=NOW + 10)
    _, unknown = opened(registry, b"3")
    _, other = opened(registry, b"4", user="1002")
    clock.advance(5)
    _, unknown_and_later = opened(registry, b"5")
    registry.end_user("1001", lambda info, since: (info.issued or since) <= NOW, ENDED)
    assert (older, unknown) == (["session_invalidated"], ["session_invalidated"])
    assert (newer, other, unknown_and_later) == ([], [], [])


def test_a_closed_connection_is_told_nothing(registry, clock):
    watch, said = opened(registry)
    registry.unwatch(watch)
    registry.unwatch(watch)
    registry.end_token(b"key", ENDED)
    clock.advance(7200)
    registry.tick()
    assert said == []
    assert len(registry) == 0


def test_ten_thousand_that_come_and_go_leave_nothing(registry):
    info, order = facts(), random.Random(7)
    watches = [registry.watch(str(number % 100).encode(), info, lambda _: None) for number in range(10_000)]
    assert len(registry) == 10_000
    order.shuffle(watches)
    for watch in watches:
        registry.unwatch(watch)
    assert len(registry) == 0
    assert not registry._by_key
    assert not registry._by_user
    assert len(registry._by_wall) <= live._SLACK
    assert len(registry._by_monotonic) <= live._SLACK
    for _ in range(10_000):
        registry.unwatch(registry.watch(b"key", info, lambda _: None))
    assert len(registry._by_wall) <= live._SLACK + 1
    assert len(registry._by_monotonic) <= live._SLACK + 1


def test_what_was_dropped_in_a_destructor_is_forgotten_with_the_next_step(registry):
    watch, said = opened(registry)
    with registry._lock:  # a collection can come while this thread is inside
        registry.drop(watch)
    registry.end_token(b"key", ENDED)
    assert said == []
    assert len(registry) == 0
    assert not registry._by_key


def test_nobody_waits_who_closes_a_connection_where_garbage_is_collected(registry):
    """That is anywhere: here in the middle of what this very thread does with the registry."""
    (watch, said), done = opened(registry), []

    def inside() -> None:
        with registry._lock:
            registry.unwatch(watch)
        done.append(True)

    thread = threading.Thread(target=inside, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done
    registry.end_token(b"key", ENDED)
    assert said == []
    registry.unwatch(watch)
    assert not registry._by_key
    assert len(registry) == 0


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, SystemExit])
@pytest.mark.parametrize("way", ["tick", "token", "user"])
def test_one_that_cannot_be_told_keeps_no_other_open(registry, clock, way, error):
    said: list[int] = []

    def end(number: int) -> None:
        if number == 1:
            raise error
        said.append(number)

    info = facts()
    for number in range(3):
        registry.watch(b"key", info, lambda _, number=number: end(number))
    clock.advance(3600)
    with nullcontext() if error is ValueError else pytest.raises(error):
        if way == "tick":
            registry.tick()
        elif way == "token":
            registry.end_token(b"key", ENDED)
        else:
            registry.end_user("1001", lambda *_: True, ENDED)
    assert sorted(said) == [0, 2]


def test_threads_may_open_and_close_at_once(registry):
    info, errors = facts(), []

    def work(name: bytes) -> None:
        try:
            for _ in range(500):
                watches = [registry.watch(name, info, lambda _: None) for _ in range(3)]
                registry.end_token(name, ENDED)
                registry.tick()
                for watch in watches:
                    registry.unwatch(watch)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number).encode(),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert len(registry) == 0


# -- the one timer ---------------------------------------------------------------------------------------


@pytest.fixture
def timer(monkeypatch) -> live._Timer:
    """A timer of one's own: the process's may tick for other tests."""
    own = live._Timer()
    monkeypatch.setattr(live, "_timer", own)
    return own


def test_the_timer_sees_a_clock_that_is_moved(registry, clock, timer):
    _, said = opened(registry)
    clock.advance(3600)
    wait_until(lambda: said)
    wait_until(lambda: not timer.is_ticking)
    _, again = opened(registry, expires=NOW + 7200)
    assert timer.is_ticking
    clock.advance(3600)
    wait_until(lambda: again)


def test_a_token_that_never_expires_costs_no_timer(registry, timer):
    opened(registry, expires=NEVER)
    assert not timer.is_ticking
    assert (len(registry._by_wall), len(registry._by_monotonic)) == (0, 0)


def test_several_guards_have_one_timer(clock, timer, monkeypatch):
    monkeypatch.setattr(live, "TICK", 0.01)
    registries = [LiveConnections(clock) for _ in range(3)]
    said = [opened(registry)[1] for registry in registries]
    assert timer._waiting == set(registries)
    ticks: list[None] = []
    tick = timer._tick
    monkeypatch.setattr(timer, "_tick", lambda loop: (ticks.append(None), tick(loop))[1])
    wait_until(lambda: len(ticks) > 2)
    handles = [one for one in background.loop()._scheduled if one._callback is timer._tick]  # type: ignore[attr-defined]
    assert len(handles) <= 1
    clock.advance(3600)
    wait_until(lambda: all(said))
    wait_until(lambda: not timer._waiting)


class FailingClock(FakeClock):
    """A user's own, which breaks while it is asked."""

    failures = 0
    fails = False
    error: type[BaseException] = OSError

    def monotonic(self) -> float:
        if self.fails:
            self.failures += 1
            raise self.error("no time")
        return super().monotonic()


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError, SystemExit])
def test_a_clock_that_fails_stops_the_timer_for_nobody(registry, clock, timer, monkeypatch, caplog, error):
    monkeypatch.setattr(live, "TICK", 0.01)
    failing = FailingClock()
    failing.error = error
    _, late = opened(LiveConnections(failing))
    _, said = opened(registry)
    failing.fails = True
    wait_until(lambda: failing.failures > 2)
    clock.advance(3600)
    wait_until(lambda: said)
    assert late == []
    failing.advance(3600)
    failing.fails = False
    wait_until(lambda: late)
    assert (said, late) == (["expired"], ["expired"])
    assert [(one.levelname, "clock fails" in one.message) for one in caplog.records] == [("WARNING", True)]
    wait_until(lambda: not timer.is_ticking)


def test_nor_does_a_log_that_fails(registry, clock, timer, monkeypatch):
    monkeypatch.setattr(live, "TICK", 0.01)
    monkeypatch.setattr(live, "_logger", None)
    background.loop().set_exception_handler(lambda *_: None)
    failing = FailingClock()
    opened(LiveConnections(failing))
    _, said = opened(registry)
    failing.fails = True
    wait_until(lambda: failing.failures > 2)
    clock.advance(3600)
    failing.fails = False
    wait_until(lambda: said)
    background.loop().set_exception_handler(None)


def test_the_timer_is_started_anew_where_its_loop_is_gone(registry, clock, timer, monkeypatch):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with monkeypatch.context() as patch:
        patch.setattr(background, "_loop", loop)
        _, said = opened(registry)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
    _, also = opened(registry, key=b"other")
    clock.advance(3600)
    wait_until(lambda: said and also)


def test_the_timer_stays_on_its_loop(registry, clock, timer, monkeypatch):
    monkeypatch.setattr(live, "TICK", 0.01)
    _, said = opened(registry)
    loop = background.loop()
    with monkeypatch.context() as patch:
        patch.setattr(background, "_loop", None)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result(PATIENCE)
        assert background.running() is None
    clock.advance(3600)
    wait_until(lambda: said)


def test_the_timer_keeps_nobodys_context(registry, timer):
    class Request:
        pass

    variable: contextvars.ContextVar[Request] = contextvars.ContextVar("request")

    def first() -> weakref.ref[Request]:
        request = Request()
        variable.set(request)
        opened(registry)
        return weakref.ref(request)

    kept = contextvars.copy_context().run(first)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), background.loop()).result(PATIENCE)
    gc.collect()
    assert timer.is_ticking
    assert kept() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_starts_anew(registry, clock, timer):
    watch, _ = opened(registry)
    reading, writing = os.pipe()
    with registry._lock, timer._lock:  # as if another thread had been in there
        pid = os.fork()
    if pid == 0:
        said = b"failed"
        try:
            empty = len(registry) == 0
            registry.unwatch(watch)
            _, ended = opened(registry)
            clock.advance(3600)
            wait_until(lambda: ended)
            said = b"ok" if empty and ended == ["expired"] else b"wrong"
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"ok"
    os.close(reading)
    os.waitpid(pid, 0)
    assert len(registry) == 1
