"""What was forgotten when, so that a look-up under way, which began before, can know that it lost."""

from __future__ import annotations

from collections import OrderedDict


class Generations:
    """When keys and users were forgotten last, in a count that only grows. Bounded.

    Whoever notes something holds a lock; who asks needs none.
    """

    def __init__(self, most: int) -> None:
        self.now = 0
        self._most = most
        self._last: OrderedDict[bytes | str, int] = OrderedDict()
        self._dropped = 0  # up to this one some are not remembered: then nobody can be sure

    def note(self, name: bytes | str) -> None:
        """Note that a key (bytes) or a user (str) is forgotten now."""
        self.now += 1
        self._last[name] = self.now
        self._last.move_to_end(name)
        if len(self._last) > self._most:
            oldest = next(iter(self._last))
            self._dropped = max(self._dropped, self._last[oldest])
            del self._last[oldest]

    def is_past(self, mark: int) -> bool:
        """Tell whether anything was forgotten since then."""
        return self.now > mark

    def since(self, mark: int, *names: bytes | str | None) -> bool:
        """Tell whether one of these was forgotten since then, or may have been."""
        # In this order: what is dropped meanwhile is counted before it goes.
        return any(name is not None and self._last.get(name, 0) > mark for name in names) or (
            mark < self._dropped
        )
