"""A store in a file: what the workers of one host share, with no server to run."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from time import time as wall_time
from typing import Final, TypeVar
from weakref import finalize

from fbguard.core import settings
from fbguard.core.errors import StoreUnavailable
from fbguard.stores.protocol import Claim, Found, Grave
from fbguard.stores.sqlite.file import File, Identity
from fbguard.stores.sqlite.hands import Hands
from fbguard.stores.sqlite.link import Link, is_busy
from fbguard.stores.sqlite.schema import number
from fbguard.stores.sqlite.tables import MOST, Row, Tables

T = TypeVar("T")

_LOOK: Final = 0.5  # seconds that a thread looks for news before it says that it lives
_AGAIN: Final = 0.05  # seconds until a look that failed is made again
_LOST: Final = 1.0  # seconds of failure after which the link is lost


class SQLiteStore:
    """Facts and tombstones in a file, which is made if there is none, readable by its owner only.

    At most ``size`` facts in each space, and a million tombstones of tokens and of users each: the oldest go
    first, a tombstone with a WARNING. ``time`` gives unix seconds. ``path`` is on a disk of this host: not on
    a network file system, which has neither the locks nor the shared memory that SQLite needs. Two more files
    lie beside it, ``-wal`` and ``-shm``; whoever removes or replaces it removes all three.

    What ended a session survives a loss of power, if the disk tells the truth; facts may be lost then. A file
    that others may read or write is taken, with a WARNING. Raises TypeError or ValueError for a path that
    cannot be such a file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, size: int = 100_000, time: Callable[[], float] = wall_time
    ) -> None:
        self._file = File(_path(path), time)
        self._size = settings.size("size", size)
        if not callable(time):
            raise TypeError("time must be a function that gives seconds")
        self._check()
        self._file.warn_of_others()
        self._hands = Hands(self._file)
        finalize(self, self._hands.end).atexit = False

    def _check(self) -> None:
        link, failure = Link(self._file), ""
        try:
            link.read(lambda _, __: None)
        except (sqlite3.Error, OSError) as exc:
            # What somebody else has locked now will be free when it is wanted.
            failure = "" if is_busy(exc) else str(exc)
        finally:
            link.close()
        if failure:
            raise ValueError(f"path cannot be used as a store: {failure}")

    def space(self, namespace: str) -> SQLiteSpace:
        """Return the space of that name (printable ASCII without white space); asks nobody."""
        return SQLiteSpace(self, self._file, self._hands, namespace, self._size)


class SQLiteSpace:
    """What the guards of one app share in a :class:`SQLiteStore`."""

    def __init__(self, store: SQLiteStore, file: File, hands: Hands, namespace: str, size: int) -> None:
        self._store = store  # which ends its threads when nobody has it
        self._file = file
        self._hands = hands
        self._number = number(namespace)
        self._size = size

    async def find(self, name: str, *, ends: Sequence[str] = (), claim: Claim | None = None) -> Found:
        """Return what is known of a token; if nothing is, claim it, unless somebody else's claim stands."""
        key, others = _blob(name), [_blob(one) for one in ends]
        row = await self._read(lambda rows: rows.find(key, others))
        if claim is None or row.is_known:
            return _found(row, None)
        holder = _blob(claim.holder)
        if row.holder is not None:
            return _found(row, row.holder == holder)

        def ask(rows: Tables) -> Found:
            row = rows.find(key, others)  # again: now nobody else can claim it
            if row.is_known:
                return _found(row, None)
            if row.holder is None:
                rows.claim(key, holder, claim.seconds)
            return _found(row, row.holder in {None, holder})

        return await self._write(ask, is_synced=False)

    async def keep(
        self, name: str, fact: bytes, *, user: str | None, ttl: float, mark: int, ends: Sequence[str] = ()
    ) -> bool:
        """Store a fact for ``ttl`` seconds and index it; False, and nothing stored, if it comes too late."""
        key, value, owner = _blob(name), _value(fact), None if user is None else _blob(user)
        others = [_blob(one) for one in ends]
        return await self._write(
            lambda rows: rows.keep(key, value, owner, ttl, mark, ends=others), is_synced=False
        )

    async def release(self, name: str, holder: str) -> None:
        """End a claim of this holder's: he has no fact to keep."""
        await self._write(lambda rows: rows.release(_blob(name), _blob(holder)), is_synced=False)

    async def stone_of_user(self, user: str) -> bytes | None:
        """Return the tombstone of a user."""
        return await self._read(lambda rows: rows.stone_of_user(_blob(user)))

    async def bury(
        self, name: str, stone: bytes, *, ttl: float, news: bytes, facts: Sequence[str] = ()
    ) -> int | None:
        """Put a tombstone on a token for ``ttl`` seconds, drop its fact, and spread the news.

        Who reads the file is known to nobody.
        """
        key, value, others = _blob(name), _value(stone), [_blob(one) for one in facts]
        await self._end(lambda rows: rows.bury(key, value, ttl, others), news)
        return None

    async def bury_user(
        self, user: str, stone: bytes, *, at: float, ttl: float, news: bytes
    ) -> Sequence[tuple[str, bytes]]:
        """Put a tombstone on a user, drop the user's facts and return them by name, and spread the news."""
        key, value = _blob(user), _value(stone)
        gone = await self._end(lambda rows: rows.bury_user(key, value, at, ttl), news)
        return [(name.decode(errors="surrogatepass"), fact) for name, fact in gone]

    async def bury_all(self, graves: Sequence[Grave]) -> None:
        """Put tombstones on tokens and drop their facts; without news."""
        given = [(_blob(one.name), _value(one.stone), one.ttl) for one in graves]

        def work(rows: Tables) -> None:
            for one in given:
                rows.bury(*one)

        if given:
            await self._write(work, is_synced=True)

    async def forget(self, name: str, *, news: bytes) -> None:
        """Drop the fact of a token, and spread the news."""
        await self._end(lambda rows: rows.forget(_blob(name)), news)

    async def forget_user(self, user: str, *, news: bytes) -> None:
        """Drop the facts of a user, and spread the news."""
        await self._end(lambda rows: rows.forget_user(_blob(user)), news)

    async def origin(self) -> str:
        """Return a text that is another one once the file is another one."""
        return await self._hands.read(lambda link, _: str(link.identity))

    async def news(self) -> AsyncGenerator[bytes]:
        """Give ``b""`` once it listens, then the news in order; StoreUnavailable when some may be missed.

        Others write into the file, and nothing tells of it: so it is looked at twenty times a second. A look
        that finds nothing new costs a ``stat`` and a read of shared memory.
        """
        ear = _Ear(self._number)
        has_begun = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOST):
                await self._hands.read(ear.start)
                has_begun = True
        if not has_begun:
            raise StoreUnavailable
        yield b""
        loop = asyncio.get_running_loop()
        well = loop.time()
        while True:
            heard: Sequence[bytes] | None = None
            try:
                async with asyncio.timeout(_LOST):
                    heard = await self._hands.watch(ear.listen, _LOOK)
                well = loop.time()
            except (StoreUnavailable, TimeoutError):
                await asyncio.sleep(_AGAIN)
            for one in heard or ():
                yield one
            if ear.is_lost or loop.time() - well >= _LOST:
                raise StoreUnavailable

    async def aclose(self) -> None:
        """Close the file if no other loop uses it. Whoever goes on opens it again."""
        await self._hands.leave()

    async def _read(self, work: Callable[[Tables], T]) -> T:
        return await self._hands.read(lambda _, db: work(self._tables(db)))

    async def _write(self, work: Callable[[Tables], T], *, is_synced: bool) -> T:
        def noting(_: Link, db: sqlite3.Connection) -> tuple[T, bool]:
            rows = self._tables(db)
            return work(rows), rows.is_stone_lost

        result, is_stone_lost = await self._hands.write(noting, is_synced=is_synced)
        if is_stone_lost:  # here, and not where others wait for the lock
            self._file.say_full()
        return result

    async def _end(self, work: Callable[[Tables], T], news: bytes) -> T:
        """Do what ends or forgets something, and spread the news of it."""
        said = _value(news)

        def both(rows: Tables) -> T:
            result = work(rows)
            rows.tell(said)
            return result

        return await self._write(both, is_synced=True)

    def _tables(self, db: sqlite3.Connection) -> Tables:
        return Tables(db, self._number, self._file.time(), self._size)


class _Ear:
    """Up to where somebody has heard the news of a space, and in which file."""

    def __init__(self, space: int) -> None:
        self.is_lost = False
        self._space = space
        self._mark = 0
        self._identity: Identity | None = None
        self._seen: tuple[sqlite3.Connection, int] | None = None

    def start(self, link: Link, db: sqlite3.Connection) -> None:
        """Hear what is said from now on."""
        self._identity = link.identity
        self._mark = Tables(db, self._space, 0.0, 0).mark()

    def listen(self, link: Link, db: sqlite3.Connection) -> Sequence[bytes] | None:
        """Return what was said since, or None; empty if the link is lost.

        The version of the data changes only with another connection's writing.
        """
        if link.identity != self._identity:
            self.is_lost = True
            return ()
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if self._seen == (db, version):
            return None
        db.execute("BEGIN")  # one view for both of its questions
        news = Tables(db, self._space, 0.0, 0).news_since(self._mark)
        db.execute("COMMIT")
        self.is_lost = not news.is_whole
        self._mark = news.mark
        self._seen = (db, version) if news.is_all else None
        if self.is_lost:
            return ()
        return news.values or None


def _found(row: Row, is_claimed: bool | None) -> Found:
    return Found(row.fact, row.stone, row.user_stone, row.mark, is_claimed, row.ends)


def _path(value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, not {type(value).__name__}")
    path: object = os.fspath(value)  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(path, str):
        raise TypeError("path must be a path of str, not of bytes")
    if not path or path == ":memory:" or "\0" in path:
        raise ValueError("path must be that of a file")
    path = os.path.abspath(path)
    if os.path.isdir(path):
        raise ValueError("path must be that of a file, not of a directory")
    if not os.path.isdir(os.path.dirname(path)):
        raise ValueError(f"path must be in a directory that exists, not in {os.path.dirname(path)!r}")
    return path


def _blob(name: str) -> bytes:
    """Return a name as it is stored: SQLite's own text ends at a NUL here and there."""
    return name.encode(errors="surrogatepass")


def _value(value: bytes) -> bytes:
    if len(value) > MOST:
        raise ValueError(f"a value has at most {MOST} bytes")
    return value
