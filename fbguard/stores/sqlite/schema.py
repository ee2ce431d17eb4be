"""The schema of a store's database: what makes one, and what tells it from others."""

# ruff: noqa: S608 - what is put into statements are numbers and names of ours

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from typing import Final

APPLICATION: Final = 0x66626764  # "fbgd"
SCHEMA: Final = 1
TOUCHES, NEWS = 4, 5  # what is counted beside the kinds of entries, for all spaces together
MICRO: Final = 1_000_000

# `mark` grows with every touch. An answer whose mark is below `floor` is late: what was touched since is not
# remembered. `unheard` is the last of the news that is not there any more. `epoch` tells files apart.
# Rows are counted by triggers, because count(*) reads them all. In both of the last two tables the mark of
# the touch is the key, so their order is that of the commits.
_CREATE: Final = """
CREATE TABLE meta (
  mark INTEGER NOT NULL, floor INTEGER NOT NULL, unheard INTEGER NOT NULL, epoch INTEGER NOT NULL
);
CREATE TABLE counts (
  space INTEGER, kind INTEGER, n INTEGER NOT NULL, PRIMARY KEY (space, kind)
) WITHOUT ROWID;
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, space INTEGER NOT NULL, kind INTEGER NOT NULL, name BLOB NOT NULL, user BLOB,
  value BLOB NOT NULL, at REAL, until REAL NOT NULL
);
CREATE UNIQUE INDEX by_name ON entries (space, kind, name);
CREATE INDEX by_age ON entries (space, kind, id);
CREATE INDEX by_user ON entries (space, user) WHERE user IS NOT NULL;
CREATE INDEX by_end ON entries (until);
CREATE TABLE touches (
  space INTEGER, kind INTEGER, name BLOB, mark INTEGER NOT NULL, PRIMARY KEY (space, kind, name)
) WITHOUT ROWID;
CREATE INDEX by_mark ON touches (mark);
CREATE TABLE news (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, value BLOB NOT NULL);
""" + "".join(
    f"""
CREATE TRIGGER {table}_in AFTER INSERT ON {table} BEGIN
  INSERT INTO counts VALUES ({new}, 1) ON CONFLICT (space, kind) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER {table}_out AFTER DELETE ON {table} BEGIN
  UPDATE counts SET n = n - 1 WHERE (space, kind) = ({old});
END;
"""
    for table, new, old in (
        ("entries", "new.space, new.kind", "old.space, old.kind"),
        ("touches", f"0, {TOUCHES}", f"0, {TOUCHES}"),
        ("news", f"0, {NEWS}", f"0, {NEWS}"),
    )
)


def create(db: sqlite3.Connection, now: float) -> None:
    """Make the tables, in a new database.

    Marks are microseconds, counted on where the clock does not go on: so those of a new file are above those
    of the lost one. The random part sees to that with a clock that stands still, too.
    """
    mark = int(now * MICRO) + secrets.randbelow(MICRO)
    db.executescript(f"BEGIN; {_CREATE} COMMIT")
    db.execute("INSERT INTO meta VALUES (?, ?, ?, ?)", (mark, mark, mark, secrets.randbits(62)))
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {SCHEMA}")  # the last: a file without it is none of ours


def epoch(db: sqlite3.Connection) -> int:
    """Return what tells this database from others; DatabaseError if it is not one of ours."""
    found = [db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
    if found != [(APPLICATION,), (SCHEMA,)]:
        raise sqlite3.DatabaseError("no store of this version of fbguard")
    return whole(db.execute("SELECT epoch FROM meta").fetchone())


def number(namespace: str) -> int:
    """Return the number of a space."""
    return int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:8], "big", signed=True)


def start_over(db: sqlite3.Connection, now: float) -> None:
    """Take every answer for late that is under way: this is not the file that it was asked for."""
    mark = grow(db, now)
    db.execute("UPDATE meta SET floor = ?", (mark,))


def grow(db: sqlite3.Connection, now: float) -> int:
    """Return the mark of something that happens now."""
    db.execute("UPDATE meta SET mark = max(mark + 1, ?)", (int(now * MICRO),))
    return whole(db.execute("SELECT mark FROM meta").fetchone())


def whole(row: tuple[object, ...] | None) -> int:
    """Return the whole number that a row begins with; DatabaseError if there is none."""
    if row is None or not isinstance(row[0], int):
        raise sqlite3.DatabaseError("the tables are damaged")
    return row[0]
