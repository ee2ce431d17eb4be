"""Entries by key, no more than so many: who was not used goes first. No clock.

The hit path reads ``entries`` itself, without a lock and without a call: a dict's ``get`` is one step, and a
recency that reading had to keep in order would need both. So an entry carries a flag, which reading sets, and
who must make room passes once over those that were used since he passed last (second chance, the CLOCK of
page caches). cachetools' LRUCache, which stood here, changes its order at each read.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, Protocol, TypeVar

_CHANCES: Final = 32  # given by one who must make room: where all are used, he does not pass them all
_SLACK: Final = 64  # keys of entries that are gone, at least, before they are swept


class Used(Protocol):
    """What a bounded table holds: ``used`` is set by whoever reads it."""

    used: bool


E = TypeVar("E", bound=Used)


class Bounded(Generic[E]):
    """At most ``most`` entries. Whoever writes holds a lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.entries: dict[bytes, E] = {}
        self._queue: deque[bytes] = deque()  # also of some that are gone

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, key: bytes, entry: E) -> list[tuple[bytes, E]]:
        """Store an entry; return what had to go for it."""
        if key in self.entries:
            self.entries[key] = entry
            return []
        gone = self._make_room()
        self.entries[key] = entry
        self._queue.append(key)
        return gone

    def _make_room(self) -> list[tuple[bytes, E]]:
        gone: list[tuple[bytes, E]] = []
        chances = _CHANCES
        while len(self.entries) >= self._most:
            oldest = self._queue.popleft()
            found = self.entries.get(oldest)
            if found is None:
                continue
            if found.used and chances:
                chances -= 1
                found.used = False
                self._queue.append(oldest)
            else:
                gone.append((oldest, self.entries.pop(oldest)))
        return gone

    def pop(self, key: bytes) -> E | None:
        """Drop an entry and return it, None if there is none."""
        found = self.entries.pop(key, None)
        if found is not None and len(self._queue) > 2 * len(self.entries) + _SLACK:
            self._queue = deque(dict.fromkeys(one for one in self._queue if one in self.entries))
        return found
