"""The guard's own event loop, where synchronous callers have their look-ups done.

One daemon thread per process, made at the first miss of a synchronous caller and made anew in a
forked child, where the parent's thread does not exist.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

from fbguard.core import forks

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


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
        thread.start()  # behind the lock: under gevent other greenlets run here, and come for the loop
    return own


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
    return _loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the background loop, in an empty context; the future is for threads.

    The loop keeps the timers of a look-up until they are due, and their context with them: the
    asker's request, with its headers, would live on with it.
    """
    return Context().run(asyncio.run_coroutine_threadsafe, work, loop())


def _run(own: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(own)
    own.run_forever()


def _forget() -> None:
    global _loop, _lock  # noqa: PLW0603
    _loop = None
    _lock = threading.Lock()


forks.in_child(_forget)
