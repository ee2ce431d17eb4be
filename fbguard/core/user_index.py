"""Which tokens belong to a user. Pure."""

from __future__ import annotations


class UserIndex:
    """Which keys belong to a user. A user with one token, which is nearly everybody, costs no set."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes | set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def keys_of(self, user_id: str) -> list[bytes]:
        """Return the keys of a user."""
        found = self._keys.get(user_id, set())
        return [found] if isinstance(found, bytes) else list(found)

    def add(self, user_id: str | None, key: bytes) -> None:
        """Note a key."""
        if user_id is None:
            return
        found = self._keys.setdefault(user_id, key)
        if isinstance(found, set):
            found.add(key)
        elif found != key:
            self._keys[user_id] = {found, key}

    def discard(self, user_id: str | None, key: bytes) -> None:
        """Drop a key."""
        found = None if user_id is None else self._keys.get(user_id)
        if user_id is None or found is None:
            return
        if isinstance(found, set):
            found.discard(key)
        if not found or found == key:
            del self._keys[user_id]
