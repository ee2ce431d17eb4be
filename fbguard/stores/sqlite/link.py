"""Connections to the database file of a store, which come back from all that happens to files and processes.

SQLite's locks are the process's and its books about them are in the process's memory. So nothing of it may
go through a fork: before ``os.fork`` every connection is closed, and opened again when it is wanted. A
server that forks past Python's hooks, while a connection is open, leaves its children with books that are
not true; they do not get at that file.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar
from weakref import WeakSet

from fbguard.core import forks
from fbguard.stores.sqlite import schema
from fbguard.stores.sqlite.file import File, Identity, Moved, connect, place_of, use_log

T = TypeVar("T")

_PAUSE: Final = 0.004  # seconds, at most, until a lock is tried again
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

# As the locks of the links, one that knows who holds it: a signal may break off the hooks around a fork.
_lock = threading.RLock()
# Who closes last puts the log away; of two that close at once each takes the other for one who needs it yet.
_closing = threading.Lock()
_links: WeakSet[Link] = WeakSet()
_paused: list[Link] = []
# What a child of a fork past the hooks has from its parent: it is neither used nor closed.
_tainted: set[tuple[int, int]] = set()
_inherited: list[sqlite3.Connection | None] = []


class Link:
    """One thread's connection to the file: opened when it is wanted, and again when it has to be."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.identity: Identity | None = None
        self.db: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None  # set before SQLite has the file, until it has let it go
        self._log: tuple[int, int] | None = None
        self._is_synced = False
        self._lock = threading.RLock()
        with _lock:
            _links.add(self)

    def read(self, work: Callable[[Link, sqlite3.Connection], T]) -> T:
        """Call ``work`` with the connection. Raises sqlite3.Error or OSError."""
        with self._lock, self._careful():
            return work(self, self._opened())

    def write(self, work: Callable[[Link, sqlite3.Connection], T], *, is_synced: bool) -> T:
        """Call ``work`` in a transaction that writes. Raises sqlite3.Error or OSError.

        A process that is killed loses nothing that was committed. ``is_synced``: nor does a machine without
        power; it costs an fsync.
        """
        with self._lock, self._careful():
            db = self._opened()
            if is_synced != self._is_synced:
                db.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
                self._is_synced = is_synced
            db.execute("BEGIN IMMEDIATE")
            known = self.file.known
            if known not in {None, self.identity}:
                schema.start_over(db, self.file.time())
            result = work(self, db)
            db.execute("COMMIT")
            self.file.known = self.identity
            if self.file.place() != self._place:
                raise Moved("it was replaced")
            return result

    @contextlib.contextmanager
    def _careful(self) -> Generator[None]:
        """Undo what fails. Only a lock that somebody else has is no reason to open the file anew."""
        try:
            yield
        except BaseException as exc:
            if self.db is not None and self.db.in_transaction and is_busy(exc):
                self.db.execute("ROLLBACK")
            elif not is_busy(exc):
                self._close()
            raise

    def _opened(self) -> sqlite3.Connection:
        place = self.file.place()
        if self.db is not None and place == self._place:
            return self.db
        log = self._log
        self._close()
        if log is not None:
            self.file.sweep(log)
        if place is None:
            self.file.create()
            place = self.file.place()
        if place in _tainted:
            raise sqlite3.OperationalError(
                "it was in use when the server forked: load the app in each worker, or use it there only"
            )
        self._place = place
        try:
            self.db = self._open(place)
        except BaseException:
            self._close()
            raise
        if self.file.known is None:
            self.file.known = self.identity
        return self.db

    def _open(self, place: tuple[int, int] | None) -> sqlite3.Connection:
        path = os.path.realpath(self.file.path)
        db = self.db = connect(path)
        epoch = schema.epoch(db)  # first: somebody else's database is left as it is
        use_log(db)
        self._log = place_of(f"{path}-wal")
        if place is None or self.file.place() != place:
            raise Moved("it was replaced")
        self.identity = Identity(*place, epoch)
        return db

    def _close(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            with _closing, contextlib.suppress(sqlite3.Error):
                db.close()
        self._place = self._log = None
        self._is_synced = False

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._close()

    def pause(self) -> None:
        """Let the file go, and let nobody have it before :meth:`resume`."""
        self._lock.acquire()
        self._close()

    def resume(self) -> None:
        """Go on after :meth:`pause`, also if that was broken off."""
        with contextlib.suppress(RuntimeError):  # it did not come to have it
            self._lock.release()

    def abandon(self) -> None:
        """In a forked child: touch nothing of what the parent has open."""
        if self._place is not None:
            _tainted.add(self._place)
            _inherited.append(self.db)
        self.db = self._place = None
        self._lock = threading.RLock()


def is_busy(failure: BaseException) -> bool:
    """Tell whether somebody else has a lock."""
    if isinstance(failure, BlockingIOError):
        return True
    code: int | None = getattr(failure, "sqlite_errorcode", None)
    return isinstance(failure, sqlite3.Error) and code is not None and code & 0xFF in _BUSY


def insist(work: Callable[[], T], until: float, is_wanted: Callable[[], bool]) -> T:
    """Call ``work`` until no lock is in its way, up to a monotonic time, and while it is wanted.

    SQLite's own way to wait looks ever more rarely: with many writers some wait for ever.
    """
    while True:
        try:
            return work()
        except (sqlite3.Error, OSError) as exc:
            if not (is_busy(exc) or isinstance(exc, Moved)) or time.monotonic() >= until or not is_wanted():
                raise
        time.sleep(random.uniform(0.25, 1) * _PAUSE)  # noqa: S311 - no secret


def _before_fork() -> None:
    _lock.acquire()
    _paused[:] = _links
    for link in _paused:
        link.pause()


def _in_parent() -> None:
    try:
        while _paused:
            _paused[-1].resume()
            _paused.pop()
    finally:
        with contextlib.suppress(RuntimeError):  # a server that calls only some of the hooks
            _lock.release()


def _in_child() -> None:
    global _lock, _closing  # noqa: PLW0603 - of the process
    for link in _links:
        link.abandon()
    _links.clear()
    _paused.clear()
    _lock = threading.RLock()
    _closing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent)
    # Once more: a signal that came during the fork is handled where the first one begins, and may end it.
    os.register_at_fork(after_in_parent=_in_parent)
forks.in_child(_in_child)
