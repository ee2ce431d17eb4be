"""When something breaks that listens: nobody goes on believing that he hears, and it begins anew."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from fbguard import events
from fbguard.core import background
from fbguard.core.errors import StoreUnavailable
from fbguard.stores import listening
from fbguard.stores.listening import Listening
from tests.support import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

FATAL = [IndexError, asyncio.CancelledError, SystemExit, KeyboardInterrupt]


class Radio:
    """Of a space the news; what a test puts into ``says`` is given, or raised."""

    def __init__(self) -> None:
        self.says: list[bytes | type[BaseException]] = []
        self.is_closing = self.hangs = False
        self.swallows = 0  # so many cancellations

    async def news(self) -> AsyncGenerator[bytes]:
        yield b""
        try:
            while True:
                while not self.says:
                    await self._pause()
                one = self.says.pop()
                if not isinstance(one, bytes):
                    raise one
                yield one
        finally:
            self.is_closing = True
            while self.hangs:
                await asyncio.sleep(0.001)

    async def _pause(self) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.swallows -= 1
            if self.swallows < 0:
                raise


@pytest.fixture
def radio(monkeypatch) -> Radio:
    monkeypatch.setattr(listening, "LATEST", 0.01)
    return Radio()


@pytest.fixture
def make(radio: Radio) -> Iterator[Callable[..., Listening]]:
    made: list[Listening] = []

    async def nothing() -> None:
        pass

    def make(hear: Any = lambda _: None, catch_up: Any = nothing, tell: Any = events.log) -> Listening:
        made.append(Listening(radio, hear, catch_up, tell))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.stop()
        wait_until(lambda one=one: one._task is None or one._task.done())


def begun(one: Listening) -> int:
    """Start it, and return its era."""
    one.start()
    wait_until(lambda: one.era is not None)
    assert one.era is not None
    return one.era


@pytest.mark.parametrize("error", FATAL)
def test_whatever_a_store_raises_a_new_era_begins(make, radio, caplog, error):
    one = make()
    era = begun(one)
    radio.says.append(error)
    wait_until(lambda: one.era not in {None, era})
    assert f"the news of the store broke off: {error.__name__}" in caplog.text


@pytest.mark.parametrize("error", FATAL)
def test_whatever_is_raised_by_who_hears_a_new_era_begins(make, radio, error):
    heard: list[bytes] = []

    def hear(said: bytes) -> None:
        heard.append(said)
        if said == b"bad":
            raise error

    one = make(hear)
    era = begun(one)
    radio.says.append(b"bad")
    wait_until(lambda: one.era not in {None, era})
    radio.says.append(b"good")
    wait_until(lambda: heard == [b"bad", b"good"])


@pytest.mark.parametrize("error", [*FATAL, StoreUnavailable])
def test_whatever_is_raised_it_is_caught_up_again(make, error):
    done: list[str] = []

    async def catch_up() -> None:
        done.append("began")
        if len(done) == 1:
            raise error
        done.append("caught up")

    one = make(catch_up=catch_up)
    era = begun(one)
    wait_until(lambda: done == ["began", "began", "caught up"])
    one.catch_up_again()
    wait_until(lambda: len(done) == 5)
    assert one.era == era


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_tell_that_raises_ends_nothing(make, radio, error):
    done: list[str] = []

    def tell(event: events.Event) -> None:
        done.append(type(event).__name__)
        raise error

    async def catch_up() -> None:
        raise IndexError

    one = make(catch_up=catch_up, tell=tell)
    era = begun(one)
    wait_until(lambda: done == ["StoreHeard", "StoreFailed", "StoreFailed"])
    radio.says.append(StoreUnavailable)
    wait_until(lambda: one.era not in {None, era})
    assert "StoreLost" in done


def test_who_is_cancelled_is_not_taken_for_a_listener(make):
    """By somebody who cancels all that runs on the loop: whoever comes next begins anew."""
    one = make()
    era = begun(one)
    task = one._task
    background.loop().call_soon_threadsafe(task.cancel)
    wait_until(task.done)
    assert task.cancelled()
    assert one.era is None
    assert begun(one) > era


@pytest.mark.parametrize("swallowed", [1, 3])
def test_what_is_stopped_ends_although_a_library_swallows_the_cancellation(
    make, radio, monkeypatch, swallowed
):
    """As asyncio.wait_for of Python 3.11 does, where the work was done in that very moment."""
    monkeypatch.setattr(listening, "INSISTING", 0.01)
    one = make()
    begun(one)
    radio.swallows = swallowed
    one.stop()
    wait_until(one._task.done)
    assert radio.swallows == -1


def test_what_was_stopped_and_hears_something_ends(make, radio):
    heard: list[bytes] = []
    one = make(heard.append)
    begun(one)
    radio.swallows = 1
    one.stop()
    wait_until(lambda: radio.swallows == 0)
    radio.says.append(b"said")
    wait_until(one._task.done)
    assert (heard, one.era) == ([], None)


def test_who_lets_go_of_his_link_is_not_disturbed(make, radio, monkeypatch):
    """What was stopped is not stopped once more at once."""
    one = make()
    begun(one)
    task, radio.hangs = one._task, True
    one.stop()
    wait_until(lambda: radio.is_closing)
    assert task.cancelling() == 1
    radio.hangs = False
    wait_until(task.done)


def test_a_store_that_does_not_let_go_is_not_taken_for_one_that_is_heard(make, radio):
    def hear(_: bytes) -> None:
        raise ValueError

    one = make(hear)
    era = begun(one)
    radio.hangs = True
    radio.says.append(b"said")
    wait_until(lambda: radio.is_closing)
    assert one.era is None
    radio.hangs = False
    wait_until(lambda: one.era not in {None, era})


def test_a_guard_that_is_collected_while_it_begins_to_listen(make, monkeypatch):
    """The collector runs where it likes, also in the thread that holds the lock."""
    one, submit = make(), background.submit

    def collecting(work: Any) -> Any:
        one.stop()
        return submit(work)

    monkeypatch.setattr(background, "submit", collecting)
    starting = threading.Thread(target=one.start, daemon=True)
    starting.start()
    starting.join(PATIENCE)
    assert not starting.is_alive()
    wait_until(lambda: one._task is not None and one._task.done())
    assert one.era is None


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError("too many open files")])
def test_who_gets_no_loop_to_listen_in_tries_again(make, monkeypatch, error):
    def loop() -> None:
        raise error

    one = make()
    with monkeypatch.context() as patch:
        patch.setattr(background, "loop", loop)
        one.start()
    assert one.era is None
    assert begun(one) == 1
