"""The threads that make a store's SQLite calls: one reads and one writes, for all loops of a process.

An executor's threads are joined when the interpreter ends, are not there after a fork, and end without
closing what they have; a driver such as aiosqlite has a thread for each connection, and waits for locks
inside SQLite. These are daemons, made when they are wanted, which close what they opened.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from fbguard.core import forks
from fbguard.core.errors import StoreUnavailable
from fbguard.stores.sqlite.file import File
from fbguard.stores.sqlite.link import Link, insist

T = TypeVar("T")
Work = Callable[[Link, sqlite3.Connection], T]

_PATIENCE: Final = 0.9  # seconds that a lock of somebody else's is waited for
_PAUSE: Final = 0.05  # seconds between two looks for news
_END: Final = 2.0  # seconds that a process which ends waits for its threads

_all: WeakSet[Hands] = WeakSet()
_is_over = False  # the process ends: no new threads


class _Job:
    """Something to do, and the future of whoever waits for it.

    What ends a session is done whoever still waits (``must``); what is only convenient is not.
    """

    def __init__(self, do: Callable[[], object], future: asyncio.Future[Any], *, must: bool) -> None:
        self._do = do
        self._future = future
        self._must = must
        self._until = time.monotonic() + _PATIENCE

    def run(self, file: File) -> bool:
        """Do it; tell whether that was all. What is raised stays here: the thread is not only this one's."""
        result: object = None
        failure: Exception | None = None
        if self._is_wanted():
            try:
                result = insist(self._do, self._until, self._is_wanted)
            except (sqlite3.Error, OSError) as exc:
                failure = exc.with_traceback(None)  # which would hold this frame, and so the loop
            except Exception as exc:  # noqa: BLE001 - is raised where it was asked for
                failure = exc
            except BaseException as exc:  # noqa: BLE001 - would end the asker's loop, which others need
                failure = RuntimeError(f"{type(exc).__name__} in the store's thread")
            with contextlib.suppress(BaseException):  # of a user's logging filter
                file.say(failure)
        return self._is_over(result, failure)

    def give_up(self, failure: OSError | None = None) -> None:
        """Give the answer that there is none."""
        self._tell(None, failure)

    def _is_wanted(self) -> bool:
        return self._must or not self._future.cancelled()

    def _is_over(self, result: object, failure: Exception | None) -> bool:
        self._tell(result, failure)
        return True

    def _tell(self, result: object, failure: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._future.get_loop().call_soon_threadsafe(_settle, self._future, result, failure)


class _Watch(_Job):
    """Is done again, now and then, until there is a result or its time is over."""

    def __init__(self, do: Callable[[], object], future: asyncio.Future[Any], seconds: float) -> None:
        super().__init__(do, future, must=False)
        self._over = time.monotonic() + seconds

    def _is_over(self, result: object, failure: Exception | None) -> bool:
        if result is None and failure is None and self._is_wanted() and time.monotonic() < self._over:
            return False
        return super()._is_over(result, failure)


class _Hand:
    """A thread, its connection and what it has to do."""

    def __init__(self, file: File, name: str) -> None:
        self.link = Link(file)
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # With a context of its own: an asker's would live on in it, with the request.
        self.thread = threading.Thread(
            target=Context().run, args=(_work, self.link, self.jobs), name=f"fbguard {name}", daemon=True
        )
        self._was_there = False

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if there are too many."""
        self.thread.start()
        self._was_there = True

    @property
    def is_dead(self) -> bool:
        """Whether the thread has ended. One that is yet to be started has not."""
        return self._was_there and not self.thread.is_alive()

    def end(self) -> None:
        """Let the thread do what waits for it, and go; if it is not there, nobody does it."""
        while not self.thread.is_alive():
            try:
                job = self.jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.give_up(OSError("there is no thread for it"))
        self.jobs.put(None)


class Hands:
    """Of one store. Knows the loops that use it: when the last one is closed, the threads end."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._pair: tuple[_Hand, _Hand] | None = None
        self._pid = os.getpid()
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        _all.add(self)
        forks.each_in_child(self)

    async def read(self, work: Work[T]) -> T:
        """Call ``work(link, connection)`` in the thread that reads. Raises StoreUnavailable."""
        return cast("T", await self._ask(0, lambda link: link.read(work)))

    async def write(self, work: Work[T], *, is_synced: bool) -> T:
        """Call ``work(link, connection)`` in a transaction that writes. Raises StoreUnavailable.

        What ``is_synced`` survives a loss of power, and is done even if the caller is cancelled.
        """
        done = await self._ask(1, lambda link: link.write(work, is_synced=is_synced), must=is_synced)
        return cast("T", done)

    async def watch(self, work: Work[T | None], seconds: float) -> T | None:
        """Have the thread that reads call ``work`` until it returns something; None if it does not.

        The thread has a look between two jobs, or wakes for it: a tenth of the work of being asked each time.
        """
        return await self._ask(0, lambda link: link.read(work), seconds=seconds)

    async def _ask(
        self, which: int, do: Callable[[Link], T], *, must: bool = False, seconds: float | None = None
    ) -> T | None:
        forks.check()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()
        fresh: tuple[_Hand, ...] = ()
        with self._lock:
            if _is_over:
                raise StoreUnavailable
            self._loops.add(loop)
            if self._pair is not None and any(hand.is_dead for hand in self._pair):
                self._drop(self._pair)
            if self._pair is None:
                fresh = self._pair = (_Hand(self._file, "reads"), _Hand(self._file, "writes"))
                self._pid = os.getpid()
            hand = self._pair[which]
            work = partial(do, hand.link)
            hand.jobs.put(_Job(work, future, must=must) if seconds is None else _Watch(work, future, seconds))
        self._start(fresh)  # behind the lock: under gevent other greenlets run here
        result, failure = await future
        if isinstance(failure, sqlite3.Error | OSError):
            raise StoreUnavailable
        if failure is not None:
            raise failure
        return cast("T | None", result)

    def _start(self, pair: tuple[_Hand, ...]) -> None:
        """Start the threads of a pair; if one cannot be had, whoever waits for it gets StoreUnavailable."""
        is_whole = False
        try:
            for one in pair:
                one.start()
            is_whole = True
        except RuntimeError as exc:
            with contextlib.suppress(Exception):  # of a user's logging filter
                self._file.say(exc)
        finally:
            if not is_whole:
                with self._lock:
                    self._drop(pair)

    def _drop(self, pair: tuple[_Hand, ...]) -> None:
        """Have a pair made anew that is not whole: nobody would read what it is asked. Needs the lock."""
        if self._pair is pair:
            self._pair = None
        for hand in pair:
            hand.end()

    async def leave(self) -> None:
        """End the threads if no loop but the running one uses them; return when the file is closed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loops.discard(loop)
            if any(not one.is_closed() for one in self._loops):
                return
            threads = self._dismiss()
        while any(one.is_alive() for one in threads):  # noqa: ASYNC110 - which a thread would have to set
            await asyncio.sleep(0.001)

    def end(self) -> list[threading.Thread]:
        """End the threads, of which nobody wants anything any more, and return them. Waits for nothing."""
        return self._dismiss() if self._pid == os.getpid() else []

    def _dismiss(self) -> list[threading.Thread]:
        pair, self._pair = self._pair, None
        for hand in pair or ():
            hand.jobs.put(None)
        return [hand.thread for hand in pair or ()]

    def begin_anew(self) -> None:
        """Start anew in a forked child: the threads are the parent's."""
        self._lock = threading.Lock()
        self._pair = None
        self._loops = WeakSet()


def _work(link: Link, jobs: queue.SimpleQueue[_Job | None]) -> None:
    watches: list[_Job] = []
    try:
        _work_off(link, jobs, watches)
    finally:
        link.close()
        for one in watches:
            one.give_up()


def _work_off(link: Link, jobs: queue.SimpleQueue[_Job | None], watches: list[_Job]) -> None:
    due = 0.0
    while True:
        job = None
        with contextlib.suppress(queue.Empty):
            job = jobs.get(timeout=max(due - time.monotonic(), 0.0) if watches else None)
            if job is None:
                break
        if job is not None and not job.run(link.file):
            due = due if watches else time.monotonic() + _PAUSE
            watches.append(job)
        if watches and time.monotonic() >= due:
            watches[:] = [one for one in watches if not one.run(link.file)]
            due = time.monotonic() + _PAUSE
        del job  # its caller may be gone, and the queue empty for long


def _settle(future: asyncio.Future[Any], result: object, failure: Exception | None) -> None:
    if not future.done():
        future.set_result((result, failure))


def _end_all() -> None:
    """At the end of the process: the last one that closes the file puts its log away."""
    global _is_over  # noqa: PLW0603 - of the process
    _is_over = True
    for thread in [thread for one in list(_all) for thread in one.end()]:
        if thread.ident is not None:
            thread.join(_END)


atexit.register(_end_all)
