"""The tables of a store in a file, and what is done to them. No threads, no files: a connection is given.

Names and values are blobs, spaces are numbers. Whoever calls what writes holds a transaction that writes;
what only reads is one statement, or says so. What somebody else wrote is not believed: a value that is no
blob, or longer than 64 KiB, is not there. What is put into statements are numbers and names of ours.
"""

# ruff: noqa: S608 - see above

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from fbguard.stores.sqlite.schema import MICRO, NEWS, TOUCHES, grow, whole

MOST: Final = (
    262_144  # bytes of a value; a reply of Graph's is 64 KiB at most, and may grow when it is written
)
MOST_STONES: Final = 1_000_000  # of tokens, and of users, in a space

_FACT, _STONE, _USER_STONE, _CLAIM = range(4)  # kinds of entries
_TOKEN, _USER = range(2)  # kinds of touches
_CLEANED: Final = 8  # old rows that a write takes along, at most
_BATCH: Final = 500  # news at once
_MOST_NEWS: Final = 10_000
_MOST_TOUCHES: Final = 100_000
_NEWS_FOR: Final = 60.0  # seconds

_IS_VALUE: Final = f"typeof({{0}}.value) = 'blob' AND length({{0}}.value) <= {MOST}"
_FIND: Final = f"""
SELECT meta.mark, fact.value, stone.value, user_stone.value, claim.value FROM meta
LEFT JOIN entries fact ON fact.space = :space AND fact.kind = {_FACT} AND fact.name = :name
  AND fact.until > :now AND {_IS_VALUE.format("fact")}
LEFT JOIN entries stone ON stone.space = :space AND stone.kind = {_STONE} AND stone.name = :name
  AND stone.until > :now AND {_IS_VALUE.format("stone")}
LEFT JOIN entries user_stone ON user_stone.space = :space AND user_stone.kind = {_USER_STONE}
  AND user_stone.name = fact.user AND user_stone.until > :now AND {_IS_VALUE.format("user_stone")}
LEFT JOIN entries claim ON claim.space = :space AND claim.kind = {_CLAIM} AND claim.name = :name
  AND claim.until > :now AND {_IS_VALUE.format("claim")}
"""
_STONE_OF: Final = f"""
SELECT value FROM entries WHERE space = ? AND kind = {_STONE} AND name = ? AND until > ?
  AND {_IS_VALUE.format("entries")}
"""
_USER_STONE_OF: Final = f"""
SELECT value, at FROM entries WHERE space = ? AND kind = {_USER_STONE} AND name = ? AND until > ?
  AND {_IS_VALUE.format("entries")}
"""


class Row(NamedTuple):
    """What is known under a name, and who claims it."""

    mark: int
    fact: bytes | None
    stone: bytes | None
    user_stone: bytes | None
    holder: bytes | None
    ends: Sequence[bytes | None] = ()

    @property
    def is_known(self) -> bool:
        """Tell whether there is anything to find."""
        return any(one is not None for one in (self.fact, self.stone, *self.ends))


class News(NamedTuple):
    """What was said since; ``mark`` is where to go on, ``is_all`` whether there was room for all of it.

    ``is_whole`` is False if something in between is not there any more.
    """

    values: Sequence[bytes]
    mark: int
    is_all: bool
    is_whole: bool


class Tables:
    """What one space has, at one time (unix seconds); at most ``size`` facts, and as many claims.

    ``is_stone_lost`` tells whether a tombstone had to go before its time.
    """

    def __init__(self, db: sqlite3.Connection, space: int, now: float, size: int) -> None:
        self.is_stone_lost = False
        self._db = db
        self._space = space
        self._now = now
        self._size = size

    # -- what reads ------------------------------------------------------------------------------------------

    def find(self, name: bytes, ends: Sequence[bytes]) -> Row:
        """Return what is known under a name, and the tombstones under others.

        Those are read last: what ended before the fact was read is seen.
        """
        row = self._db.execute(_FIND, {"space": self._space, "name": name, "now": self._now}).fetchone()
        found = Row(whole(row), *row[1:])
        stones = [self._db.execute(_STONE_OF, (self._space, one, self._now)).fetchone() for one in ends]
        return found._replace(ends=tuple(None if one is None else one[0] for one in stones))

    def stone_of_user(self, user: bytes) -> bytes | None:
        """Return the tombstone of a user."""
        row = self._db.execute(_USER_STONE_OF, (self._space, user, self._now)).fetchone()
        return None if row is None else row[0]

    def mark(self) -> int:
        """Return the mark of the last touch."""
        return whole(self._db.execute("SELECT mark FROM meta").fetchone())

    def news_since(self, mark: int) -> News:
        """Return the news after ``mark``. Reads twice: whoever calls holds a transaction."""
        now, unheard = self._db.execute("SELECT mark, unheard FROM meta").fetchone()
        rows = self._db.execute(
            f"SELECT id, value FROM news WHERE id > ? AND space = ? AND {_IS_VALUE.format('news')}"
            f" ORDER BY id LIMIT {_BATCH}",
            (mark, self._space),
        ).fetchall()
        is_all = len(rows) < _BATCH
        return News([value for _, value in rows], now if is_all else rows[-1][0], is_all, mark >= unheard)

    # -- what writes -----------------------------------------------------------------------------------------

    def claim(self, name: bytes, holder: bytes, seconds: float) -> None:
        """Claim a name."""
        self._put(_CLAIM, name, holder, seconds)

    def release(self, name: bytes, holder: bytes) -> None:
        """End a claim of this holder's."""
        self._db.execute(
            f"DELETE FROM entries WHERE space = ? AND kind = {_CLAIM} AND name = ? AND value = ?",
            (self._space, name, holder),
        )

    def keep(
        self,
        name: bytes,
        fact: bytes,
        user: bytes | None,
        ttl: float,
        mark: int,
        *,
        ends: Sequence[bytes] = (),
    ) -> bool:
        """Store a fact and end any claim; False if it is late."""
        self._drop(_CLAIM, name)
        now, floor, touched = self._db.execute(
            "SELECT mark, floor, (SELECT max(mark) FROM touches WHERE space = :space AND"
            f" (kind = {_TOKEN} AND name = :name OR kind = {_USER} AND name = :user)) FROM meta",
            {"space": self._space, "name": name, "user": user},
        ).fetchone()
        # A mark that this database has not come to is another one's, which is lost.
        if (
            not floor <= mark <= now
            or (touched or 0) > mark
            or any(self._touched(one) > mark for one in ends)
        ):
            return False
        self._put(_FACT, name, fact, ttl, user=user)
        return True

    def _touched(self, name: bytes) -> int:
        """Return the mark of a token's last touch, 0 if nobody remembers one."""
        row = self._db.execute(
            f"SELECT mark FROM touches WHERE space = ? AND kind = {_TOKEN} AND name = ?", (self._space, name)
        ).fetchone()
        return 0 if row is None else row[0]

    def bury(self, name: bytes, stone: bytes, ttl: float, facts: Sequence[bytes] = ()) -> None:
        """Put a tombstone on a token and drop its fact, under other names, too."""
        (until,) = self._db.execute(
            f"SELECT max(until) FROM entries WHERE space = ? AND kind = {_STONE} AND name = ?",
            (self._space, name),
        ).fetchone()
        self._put(_STONE, name, stone, max(ttl, (until or 0.0) - self._now))
        self.forget(name)
        for one in facts:
            self._drop(_FACT, one)

    def forget(self, name: bytes) -> None:
        """Drop the fact of a token."""
        self._drop(_FACT, name)
        self._touch(_TOKEN, name)

    def bury_user(self, user: bytes, stone: bytes, at: float, ttl: float) -> list[tuple[bytes, bytes]]:
        """Put a tombstone on a user, unless there is one of a later event; drop and return the facts."""
        before = self._db.execute(_USER_STONE_OF, (self._space, user, self._now)).fetchone()
        if before is None or not isinstance(before[1], float) or before[1] <= at:
            self._put(_USER_STONE, user, stone, ttl, at=at)
        dropped = self._db.execute(
            f"SELECT name, value FROM entries WHERE space = ? AND user = ? AND kind = {_FACT} AND until > ?"
            f" AND {_IS_VALUE.format('entries')} AND typeof(name) = 'blob'",
            (self._space, user, self._now),
        ).fetchall()
        self.forget_user(user)
        return dropped

    def forget_user(self, user: bytes) -> None:
        """Drop the facts of a user."""
        self._db.execute("DELETE FROM entries WHERE space = ? AND user = ?", (self._space, user))
        self._touch(_USER, user)

    def tell(self, news: bytes) -> None:
        """Spread the news of the last touch; take old ones away."""
        self._db.execute("INSERT INTO news SELECT mark, ?, ? FROM meta", (self._space, news))
        old = int((self._now - _NEWS_FOR) * MICRO)
        over = max(0, min(self._count(0, NEWS) - _MOST_NEWS, _CLEANED))
        (last,) = self._db.execute(
            "SELECT max(id) FROM (SELECT * FROM (SELECT id FROM news WHERE id < ? ORDER BY id LIMIT ?)"
            " UNION ALL SELECT * FROM (SELECT id FROM news ORDER BY id LIMIT ?))",
            (old, _CLEANED, over),
        ).fetchone()
        if last is not None:
            self._db.execute("DELETE FROM news WHERE id <= ?", (last,))
            self._db.execute("UPDATE meta SET unheard = max(unheard, ?)", (last,))

    def _touch(self, kind: int, name: bytes) -> None:
        mark = grow(self._db, self._now)
        self._db.execute(
            "INSERT INTO touches VALUES (?, ?, ?, ?) ON CONFLICT (space, kind, name)"
            " DO UPDATE SET mark = excluded.mark",
            (self._space, kind, name, mark),
        )
        if self._count(0, TOUCHES) > _MOST_TOUCHES:
            (last,) = self._db.execute(
                "SELECT max(mark) FROM (SELECT mark FROM touches ORDER BY mark LIMIT ?)", (_CLEANED,)
            ).fetchone()
            self._db.execute("DELETE FROM touches WHERE mark <= ?", (last,))
            self._db.execute("UPDATE meta SET floor = max(floor, ?)", (last,))

    def _put(
        self,
        kind: int,
        name: bytes,
        value: bytes,
        ttl: float,
        *,
        user: bytes | None = None,
        at: float | None = None,
    ) -> None:
        """Store a value, as the youngest of its kind; the oldest, and a few that are over, have to go."""
        self._drop(kind, name)
        self._db.execute(
            "INSERT INTO entries (space, kind, name, user, value, at, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._space, kind, name, user, value, at, self._now + ttl),
        )
        self._db.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE until <= ? LIMIT ?)",
            (self._now, _CLEANED),
        )
        most = MOST_STONES if kind in {_STONE, _USER_STONE} else self._size
        if (over := self._count(self._space, kind) - most) > 0:
            self._drop_oldest(kind, min(over, _CLEANED))

    def _drop_oldest(self, kind: int, number: int) -> None:
        rows = self._db.execute(
            "SELECT id, until > ? FROM entries WHERE space = ? AND kind = ? ORDER BY id LIMIT ?",
            (self._now, self._space, kind, number),
        ).fetchall()
        self._db.executemany("DELETE FROM entries WHERE id = ?", [(number,) for number, _ in rows])
        if kind in {_STONE, _USER_STONE} and any(is_alive for _, is_alive in rows):
            self.is_stone_lost = True

    def _drop(self, kind: int, name: bytes) -> None:
        self._db.execute(
            "DELETE FROM entries WHERE space = ? AND kind = ? AND name = ?", (self._space, kind, name)
        )

    def _count(self, space: int, kind: int) -> int:
        row = self._db.execute("SELECT n FROM counts WHERE space = ? AND kind = ?", (space, kind)).fetchone()
        return 0 if row is None else row[0]
