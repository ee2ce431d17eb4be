"""What ends with its token: watched by the guard that let it in, and how its waits are broken off.

The guard of the token calls; nothing here has a task or a timer of its own.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import RLock
from typing import Any, Final, TypeVar, cast

from fbguard.claims import Claim
from fbguard.core.cache import key_of
from fbguard.core.reasons import Finding
from fbguard.guard import Guard
from fbguard.revocation.live import Watch

T = TypeVar("T")
_DEEPEST: Final = 32  # exceptions behind one exception


class Cut(ConnectionAbortedError):  # noqa: N818 - not always an error
    """The connection was cut because its token has ended; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        # The number of a client that went away: servers make no noise of that one.
        super().__init__(errno.ECONNRESET, f"cut by fbguard: {finding.reason}")
        self.finding = finding


class Watched:
    """Something that ends with a token; with any of several, if several guards let it in."""

    __slots__ = ("__weakref__", "_is_closed", "_lock", "_watches", "ended_by", "finding")

    def __init__(self) -> None:
        self.finding: Finding | None = None
        self.ended_by: Guard | None = None  # whose token has ended
        self._is_closed = False
        # Views on other threads watch, too. To be entered again: a guard's clock is its user's code.
        self._lock = RLock()
        self._watches: tuple[tuple[Guard, Watch], ...] = ()

    def watch(self, claim: Claim | None, /) -> None:
        """End with this token from now on; of one guard and token the last word counts. On any thread."""
        if claim is None:
            return
        key = key_of(claim.token)
        with self._lock:
            if self._is_closed:
                return
            old = [one for one in self._watches if one[0] is claim.guard and one[1].key == key]
            if any(watch.info is claim.info for _, watch in old):
                return
            new = claim.guard.watch(claim.token, claim.info, self._ending(claim.guard))
            self._watches = (*(one for one in self._watches if one not in old), (claim.guard, new))
        for guard, watch in old:
            guard.live.unwatch(watch)
        self._let_go_if_closed()

    def _let_go_if_closed(self) -> None:
        """Undo what has come too late: a view may outlive its connection."""
        if self._is_closed:
            self.unwatch()

    def _ending(self, guard: Guard) -> Callable[[Finding], None]:
        return partial(self.end, guard)

    def end(self, guard: Guard, finding: Finding) -> None:
        """Note the first end, and whose token it is; on any thread."""
        if self.finding is None:
            self.ended_by, self.finding = guard, finding

    def unwatch(self) -> None:
        """Stop watching: what comes now ends nothing any more."""
        with self._lock:
            self._is_closed = True
            watches, self._watches = self._watches, ()
        for guard, watch in watches:
            guard.live.unwatch(watch)

    def drop(self) -> None:
        """Do so in a destructor: nobody else has hold of this, and no lock may be waited for."""
        watches, self._watches = self._watches, ()
        for guard, watch in watches:
            guard.live.drop(watch)


class Breakable(Watched):
    """Something of one event loop whose waits are broken off when it ends, whichever tasks are in them."""

    __slots__ = ("_broken", "_inside", "_loop")

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inside: dict[asyncio.Task[Any], int] = {}  # waiting tasks: how often they were cancelled before
        self._broken: frozenset[asyncio.Task[Any]] = frozenset()

    def end(self, guard: Guard, finding: Finding) -> None:
        """Break the waits off, soon; on any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # that loop is closed, and the connection with it
                # Not in the context of whoever ended the session.
                self._loop.call_soon_threadsafe(self._break_off, guard, finding, context=Context())

    def _break_off(self, guard: Guard, finding: Finding) -> None:
        if self._is_closed or self.finding is not None:
            return
        self.ended_by, self.finding = guard, finding
        self._broken = frozenset(self._inside)
        for task in self._broken:
            task.cancel()

    async def wait(self, step: Awaitable[T]) -> T:
        """Await a step; raises Cut if it is broken off. Who else cancels the task wins (asyncio.timeout)."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._inside[task] = task.cancelling()
        try:
            found = await step
        except asyncio.CancelledError:
            if not self._leave(task):
                raise
        except BaseException:
            self._leave(task)
            raise
        else:
            self._leave(task)
            if self.finding is None:
                return found
        raise Cut(cast("Finding", self.finding))

    def _leave(self, task: asyncio.Task[Any]) -> bool:
        """Take our cancellation back; return whether it was the only one."""
        before = self._inside.pop(task)
        return task in self._broken and task.uncancel() <= before


def is_cut(error: BaseException) -> bool:
    """Tell a cut, or a group of nothing else, from an exception that an app may want to know of."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(Cut)[1] is None
    return isinstance(error, Cut)


def comes_of_cut(error: BaseException | None, deepest: int = _DEEPEST) -> bool:
    """Tell an exception that the app, or its framework, made of a cut; of a group, if all of it is."""
    if error is None or deepest == 0:
        return False
    if isinstance(error, Cut):
        return True
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(comes_of_cut(one, deepest // 2) for one in group.exceptions)
    return comes_of_cut(error.__cause__ or error.__context__, deepest - 1)
