"""What must be made anew in a forked child, and how a child is noticed.

Locks may be held by threads that the child has not; sockets, loops and slots are the parent's. The
interpreter tells of ``os.fork``. uWSGI forks without it, so whoever comes for the background loop or for
a loop's connections looks at the process id, too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Final, Protocol
from weakref import ref

_logger = logging.getLogger("fbguard")


class Inherited(Protocol):
    """What holds something of its process's own: a lock, mostly."""

    def begin_anew(self) -> None:
        """Take a new lock, and forget what is the parent's: this is a forked child."""
        ...


_hooks: Final[list[Callable[[], None]]] = []
_each: Final[set[ref[Inherited]]] = set()
_lock = threading.Lock()
_pid = os.getpid()


def in_child(hook: Callable[[], None]) -> None:
    """Call ``hook`` in every forked child, in the order of registration."""
    _hooks.append(hook)


def each_in_child(one: Inherited) -> None:
    """Have ``one`` begin anew in every forked child while it lives; after the hooks, in no order."""
    _each.add(ref(one, _each.discard))


def check() -> None:
    """Call the hooks if this is a child in which nobody has called them yet."""
    if os.getpid() != _pid:
        with _lock:
            if os.getpid() != _pid:
                _run()


def _run() -> None:
    global _pid  # noqa: PLW0603 - of the process, like the id itself
    inherited = [one for reference in list(_each) if (one := reference()) is not None]
    for renew in [*_hooks, *(one.begin_anew for one in inherited)]:
        try:
            renew()
        except BaseException:  # the others' locks would stay held for ever, and nobody would come back here
            _logger.exception("something of fbguard could not be made anew in a forked child")
    _pid = os.getpid()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _run()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
