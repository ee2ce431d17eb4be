"""What belongs to one event loop of one process: HTTP client and flights."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from fbguard.core import forks


class Abandonable(Protocol):
    """What a loop may have for itself."""

    def abandon(self) -> None:
        """Let go in a forked child, without touching what is the parent's."""
        ...


T = TypeVar("T", bound=Abandonable)


def is_on_loop() -> bool:
    """Tell whether this thread is running an event loop, which must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class PerLoop(Generic[T]):
    """One ``T`` per running loop, made at first use and made anew after a fork.

    Sockets, locks and tasks of one loop are useless, or worse, on another one and in a child process.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.RLock()  # re-entered where a guard is collected as garbage, and closes its own
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        forks.each_in_child(self)

    def here(self) -> T:
        """Return the running loop's own."""
        loop = asyncio.get_running_loop()
        forks.check()
        with self._lock:
            found = self._by_loop.get(loop)
            if found is None:
                self._drop_closed_loops()
                found = self._by_loop[loop] = self._make()
            return found

    def take(self, loop: asyncio.AbstractEventLoop) -> T | None:
        """Remove and return what belongs to ``loop``, for closing it there."""
        with self._lock:
            return self._by_loop.pop(loop, None)

    def take_here(self) -> T | None:
        """Remove and return what belongs to the running loop, for closing it."""
        return self.take(asyncio.get_running_loop())

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the loops that have one, of this process."""
        with self._lock:
            return list(self._by_loop)

    def begin_anew(self) -> None:
        """Start anew in a forked child, whose parent goes on with what there was."""
        for one in self._by_loop.values():
            one.abandon()
        self._lock = threading.RLock()
        self._by_loop = WeakKeyDictionary()

    def _drop_closed_loops(self) -> None:
        # A client refers to its loop, so the weak key alone would keep both for ever.
        for loop in [loop for loop in self._by_loop if loop.is_closed()]:
            del self._by_loop[loop]


class SharedTask:
    """Work on one event loop that several wait for. It is a task of its own: each of them may leave."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether somebody has begun it, and it has not ended."""
        return self._task is not None and not self._task.done()

    async def shared(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work, unless it is under way; wait until it is done."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(work(), context=Context())
        await asyncio.shield(self._task)

    async def aclose(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """Forget it in a forked child."""
        if self._task is not None:
            disown(self._task)


def disown(task: asyncio.Task[Any]) -> None:
    """Let a forked child drop a task of its parent's without a word: it is not lost, it runs over there."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001


def closing_with_loop(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Return an async generator whose ``aclose()`` calls ``close``, at the latest when the loop ends.

    A runner (``asyncio.run``, a server) closes the async generators of its loop before it ends the
    loop: the one moment at which a client that nobody closed can still be closed.
    """
    generator = _until_closed(close)
    with suppress(StopIteration):
        generator.asend(None).send(None)  # up to its yield: from there on the loop knows it
    return generator


async def _until_closed(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await close()
