"""The guard's own event loop, where synchronous callers have their look-ups done.

One daemon thread per process, made at the first miss of a synchronous caller and made anew in a
forked child, where the parent's thread does not exist.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import threading
import traceback
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import closing
from contextvars import Context
from typing import Any, Final, TypeVar

from fbguard.core import forks

T = TypeVar("T")

_LAST: Final = -5  # frames of a traceback

_logger = logging.getLogger("fbguard")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


class BrokenOff(TimeoutError):  # noqa: N818 - whoever waits for an answer gets none, as if time had run out
    """Work has raised SystemExit or KeyboardInterrupt, which is not for the thread that waits for it."""


class NoLoop(TimeoutError):  # noqa: N818 - nobody answers, as if time had run out
    """The machine has no thread, or no file, for the loop at the moment."""


def loop() -> asyncio.AbstractEventLoop:
    """Return the running loop of this process, starting its thread if there is none."""
    global _loop  # noqa: PLW0603 - one per process is what this module is for
    forks.check()
    with _lock:
        own, thread = _loop, None
        if own is None or own.is_closed():
            # A loop keeps the context it is made in: the first asker's request, with its headers.
            own = _loop = Context().run(_new_loop)
            thread = threading.Thread(target=_run, args=(own,), name="fbguard", daemon=True)
    if thread is not None:
        _start(thread, own)  # behind the lock: under gevent other greenlets run here, and come for the loop
    return own


def _start(thread: threading.Thread, own: asyncio.AbstractEventLoop) -> None:
    try:
        thread.start()
    except BaseException:  # the machine has none left at the moment
        own.close()  # so that whoever comes next tries again, with a loop of his own
        raise


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that is nobody's while it waits.

    Under gevent's monkey patching its thread is a greenlet, and asyncio keeps the running loop by thread:
    while it waits, the greenlets of requests run, and must not take it for theirs.
    """

    class Discreet(selectors.DefaultSelector):  # as it is now: gevent may have patched it since our import
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            loop = asyncio._get_running_loop()  # noqa: SLF001 - for makers of loops, as the next
            asyncio._set_running_loop(None)  # noqa: SLF001
            try:
                return super().select(timeout)
            finally:
                asyncio._set_running_loop(loop)  # noqa: SLF001

    return asyncio.SelectorEventLoop(Discreet())


def running() -> asyncio.AbstractEventLoop | None:
    """Return the loop if there is one already."""
    return None if _loop is None or _loop.is_closed() else _loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the background loop, in an empty context; the future is for threads.

    The loop keeps the timers of a look-up until they are due, and their context with them: the
    asker's request, with its headers, would live on with it. Raises NoLoop.
    """
    try:
        own = loop()
    except BaseException as failure:
        work.close()  # or Python would say that nobody has awaited it
        if not isinstance(failure, (RuntimeError, OSError)):
            raise
        _logger.error("nobody can be asked from other threads: %s", failure)  # noqa: TRY400 - that says it all
        raise NoLoop from failure
    return Context().run(asyncio.run_coroutine_threadsafe, _contained(work), own)


def attempt(work: Coroutine[Any, Any, object]) -> bool:
    """Do what :func:`submit` does, with work that nobody waits for; False where no loop is to be had."""
    try:
        submit(work)
    except NoLoop:
        return False
    return True


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    """Keep what is meant for a program out of the futures, which would carry it to a thread of the app."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        _log(error)
    raise BrokenOff


def _run(own: asyncio.AbstractEventLoop) -> None:
    """Run the loop for as long as the process lives: what ends one guard's work must not end all others'."""
    asyncio.set_event_loop(own)
    with closing(own):  # should it end after all, whoever comes next makes another
        while True:
            try:
                own.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # of tasks and callbacks asyncio lets these out
                _log(error)
            else:
                return


def _log(error: BaseException) -> None:
    """Say where it came from, but not its text, nor what was handled then: that may hold a token."""
    where = "".join(traceback.format_tb(error.__traceback__, limit=_LAST))
    _logger.error("%s on the background thread, which goes on:\n%s", type(error).__name__, where)


def _forget() -> None:
    global _loop, _lock  # noqa: PLW0603
    _loop = None
    _lock = threading.Lock()


forks.in_child(_forget)
