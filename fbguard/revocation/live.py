"""Open connections that must not outlive their token: WebSockets and streams. One timer for all of them.

A connection is told to end when its token's session is ended, or when the token's own time is over by the
guard's clock. That clock can be set and can stand still, so it is looked at twice a second, as long as
there is a connection that waits for it.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from itertools import count
from typing import Final, TypeVar

from fbguard.core import background, forks
from fbguard.core.clock import Clock
from fbguard.core.reasons import Finding
from fbguard.core.token import TokenInfo

TICK: Final = 0.5  # seconds

_logger = logging.getLogger("fbguard")

End = Callable[[Finding], None]
K = TypeVar("K")

_SLACK: Final = 1000  # closed connections that a heap may hold
_EXPIRED: Final = Finding("expired")


class Watch:
    """One open connection: the token's key and facts, and the wall time at which it was opened."""

    __slots__ = ("_end", "info", "key", "since")

    def __init__(self, key: bytes, info: TokenInfo, since: float, end: End) -> None:
        self.key = key
        self.info = info
        self.since = since
        self._end: End | None = end

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed or has been told to end."""
        return self._end is None

    def stop(self) -> None:
        """Note that the connection is closed."""
        self._end = None

    def end(self, finding: Finding) -> None:
        """Tell the connection to end, once."""
        end, self._end = self._end, None
        if end is not None:
            end(finding)


class _Deadlines:
    """Watches by the time at which they end; those that are over meanwhile cost nothing but a place."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Watch]] = []
        self._numbers = count()  # so that two of the same time need not be compared

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, when: float, watch: Watch) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), watch))

    def due(self, now: float) -> Iterator[Watch]:
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].is_over):
            yield heapq.heappop(self._heap)[2]

    def prune(self, open_ones: int) -> None:
        if len(self._heap) > 2 * open_ones + _SLACK:
            self._heap = [entry for entry in self._heap if not entry[2].is_over]
            heapq.heapify(self._heap)


class LiveConnections:
    """All of a guard's open connections in this process. Safe for threads.

    ``end`` of :meth:`watch` is called once at most, on any thread; it must neither wait nor raise.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reset()
        forks.each_in_child(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[bytes, set[Watch]] = {}
        self._by_user: dict[str | None, set[Watch]] = {}
        self._open = 0
        # The stricter clock counts: neither a wall clock set back nor a machine that slept prolongs anything.
        self._by_wall, self._by_monotonic = _Deadlines(), _Deadlines()
        self._dropped: deque[Watch] = deque()

    def __len__(self) -> int:
        with self._lock:
            self._sweep()
        return self._open

    @property
    def is_waiting(self) -> bool:
        """Whether any connection waits for the end of its token's time."""
        return len(self._by_wall) > 0

    def watch(self, key: bytes, info: TokenInfo, end: End) -> Watch:
        """Watch a connection that was opened with these facts, until :meth:`unwatch`."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        watch = Watch(key, info, wall, end)
        with self._lock:
            self._sweep()
            self._open += 1
            self._by_key.setdefault(key, set()).add(watch)
            self._by_user.setdefault(info.user_id, set()).add(watch)
            if info.expires:
                self._by_wall.push(info.expires, watch)
                self._by_monotonic.push(monotonic + info.expires - wall, watch)
        if info.expires:
            _timer.wake(self)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a connection that is closed; again does no harm.

        Never waits for the lock: where garbage is collected (a body, a task whose loop is gone), this very
        thread may hold it. Then the next step of anybody does the rest.
        """
        self.drop(watch)
        if self._lock.acquire(blocking=False):
            try:
                self._sweep()
            finally:
                self._lock.release()

    def drop(self, watch: Watch) -> None:
        """Do so with nothing but a note, in a destructor."""
        watch.stop()
        self._dropped.append(watch)

    def _sweep(self) -> None:
        while self._dropped:
            self._remove(self._dropped.popleft())

    def _remove(self, watch: Watch) -> None:
        found = self._by_key.get(watch.key)
        if found is None or watch not in found:
            return
        self._open -= 1
        _discard(self._by_key, watch.key, watch)
        _discard(self._by_user, watch.info.user_id, watch)
        self._by_wall.prune(self._open)
        self._by_monotonic.prune(self._open)

    def tokens(self) -> list[tuple[bytes, TokenInfo, float]]:
        """Return the tokens of open connections, by key, and since when (unix seconds) the first is open."""
        with self._lock:
            firsts = [(key, min(watches, key=_since)) for key, watches in self._by_key.items()]
        return [(key, first.info, first.since) for key, first in firsts]

    def end_token(self, key: bytes, finding: Finding) -> None:
        """End the connections of a token."""
        with self._lock:
            found = list(self._by_key.get(key, ()))
        _end_all(found, finding)

    def end_user(self, user_id: str, covers: Callable[[TokenInfo, float], bool], finding: Finding) -> None:
        """End those of a user that ``covers(info, since)`` tells; ``since`` is when one was opened."""
        with self._lock:
            found = list(self._by_user.get(user_id, ()))
        _end_all([watch for watch in found if covers(watch.info, watch.since)], finding)

    def tick(self) -> None:
        """End the connections whose token's time is over by now."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()  # first: they are their user's code
        with self._lock:
            self._sweep()
            over = [*self._by_wall.due(wall), *self._by_monotonic.due(monotonic)]
        _end_all(over, _EXPIRED)

    def begin_anew(self) -> None:
        """Start anew in a forked child: the connections are the parent's."""
        self._reset()


class _Timer:
    """Has every registry of this process look at its clock, while any of them waits for it.

    It must not stop: what it would end stays open. So it goes on past whatever a clock raises, which is its
    user's code, and is started anew on another loop if the one it ticks on is not the process's any more.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[LiveConnections] = set()
        self._failing: set[LiveConnections] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # on which it ticks

    @property
    def is_ticking(self) -> bool:
        """Whether it looks at clocks now."""
        return self._loop is not None

    def wake(self, registry: LiveConnections) -> None:
        """Tick for a registry, too, from now on until it no longer waits."""
        loop = background.loop()
        with self._lock:
            self._waiting.add(registry)
            before, self._loop = self._loop, loop
        if before is not loop:
            # In a context of its own: a timer keeps the one it was made in, here the first asker's request.
            loop.call_soon_threadsafe(self._tick, loop, context=Context())

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self._loop is not loop:
                return
            waiting = tuple(self._waiting)
        try:
            for registry in waiting:
                self._let_tick(registry)
        finally:
            self._go_on(loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            # Who comes to wait at this moment is counted already, and calls wake() next.
            self._waiting = {registry for registry in self._waiting if registry.is_waiting}
            self._failing &= self._waiting
            if self._loop is not loop:
                return
            if self._waiting:
                loop.call_later(TICK, self._tick, loop)
            else:
                self._loop = None

    def _let_tick(self, registry: LiveConnections) -> None:
        try:
            registry.tick()
        except BaseException:
            if registry not in self._failing:  # twice a second would be too often
                _logger.warning("a guard's clock fails: open connections do not end in time", exc_info=True)
                self._failing.add(registry)
        else:
            self._failing.discard(registry)


_timer = _Timer()


def _end_all(watches: list[Watch], finding: Finding) -> None:
    """Tell each to end; whatever one of them raises, nobody would tell the others again."""
    with ExitStack() as stack:
        for watch in reversed(watches):
            stack.callback(_end, watch, finding)


def _end(watch: Watch, finding: Finding) -> None:
    try:
        watch.end(finding)
    except Exception:
        _logger.warning("an open connection cannot be told to end", exc_info=True)


def _since(watch: Watch) -> float:
    return watch.since


def _discard(index: dict[K, set[Watch]], key: K, watch: Watch) -> None:
    found = index[key]
    found.discard(watch)
    if not found:
        del index[key]


forks.in_child(_timer.reset)
