"""The guard's own event loop, where synchronous callers have their look-ups done.

One daemon thread per process, made at the first miss of a synchronous caller and made anew in a
forked child, where the parent's thread does not exist.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """Return the running loop of this process, starting its thread if there is none."""
    global _loop  # noqa: PLW0603 - one per process is what this module is for
    with _lock:
        if _loop is None or _loop.is_closed():
            # A loop keeps the context it is made in: the first asker's request, with its headers.
            _loop = Context().run(asyncio.new_event_loop)
            threading.Thread(target=_run, args=(_loop,), name="fbguard", daemon=True).start()
        return _loop


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
