"""The database file of a store: made whole, found when it is another one. Blocks; is called by threads.

Nobody here opens the file but SQLite: when a process closes any descriptor of it, it loses all its locks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, NamedTuple

from fbguard.stores.sqlite import schema

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("fbguard")

_KEPT: Final = 16 * 2**20  # bytes of write-ahead log that stay when there were more
_OTHERS: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


class Moved(sqlite3.OperationalError):
    """The file at the path became another one meanwhile."""


class Identity(NamedTuple):
    """Which file it is."""

    device: int
    inode: int
    epoch: int


class File:
    """The file at a path, for all connections of a process; ``time`` gives unix seconds.

    ``known`` is the file that the marks of this process are of.
    """

    def __init__(self, path: str, time: Callable[[], float]) -> None:
        self.path = path
        self.time = time
        self.known: Identity | None = None
        self._said = ""
        self._is_full = False

    def place(self) -> tuple[int, int] | None:
        """Return device and inode of what is at the path; None for nothing, or an empty file."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino) if found.st_size else None

    def create(self) -> None:
        """Make the database if there is none: whole, before anybody sees it.

        What is left of the log of a lost database would be read into the new one, by SQLite: it goes first.
        """
        path = os.path.realpath(self.path)
        with _folder(os.path.dirname(path)):
            if self.place() is not None:
                return
            new = f"{path}-new"
            for one in (f"{path}-wal", f"{path}-shm", new, f"{new}-journal", f"{new}-wal", f"{new}-shm"):
                Path(one).unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with contextlib.closing(connect(new)) as db:
                use_log(db)
                schema.create(db, self.time())
            os.replace(new, path)

    def sweep(self, log: tuple[int, int] | None) -> None:
        """Remove the log of a database that was here, if it still lies beside another one."""
        path = os.path.realpath(self.path)
        with _folder(os.path.dirname(path)):
            if log is not None and place_of(f"{path}-wal") == log:
                Path(f"{path}-wal").unlink()
                Path(f"{path}-shm").unlink(missing_ok=True)

    def warn_of_others(self) -> None:
        """Log it if others than the owner may read or write the file, which somebody may want."""
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError):  # it is away: that is said elsewhere
            if os.stat(self.path).st_mode & _OTHERS:
                logger.warning("the store's file can be read or written by others: chmod 600 %r", self.path)

    def say(self, failure: Exception | None) -> None:
        """Log why the store is away, once until it is something else."""
        text = "" if failure is None else str(failure)
        if text not in {"", self._said}:
            logger.warning("the store's file cannot be used: %s", text)
        self._said = text

    def say_full(self) -> None:
        """Log, once, that a tombstone had to go before its time."""
        if not self._is_full:
            logger.warning("more sessions were ended than the store can keep: the oldest goes")
        self._is_full = True


def connect(path: str) -> sqlite3.Connection:
    """Return a connection to a file that is there. Waits for no lock."""
    # No check of threads: before a fork another one closes it, under the lock.
    db = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )
    db.text_factory = bytes
    return db


def use_log(db: sqlite3.Connection) -> None:
    """Have a database write ahead, so that who reads and who writes do not wait for each other."""
    if db.execute("PRAGMA journal_mode = WAL").fetchone() != (b"wal",):
        raise sqlite3.OperationalError("there is no write-ahead log on its file system")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {_KEPT}")


def place_of(path: str) -> tuple[int, int] | None:
    """Return device and inode of what is at a path; None for nothing."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _folder(path: str) -> Generator[None]:
    """Hold the folder's lock: one process at a time makes and removes files there."""
    if sys.platform == "win32":
        yield
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(folder)
