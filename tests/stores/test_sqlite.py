"""The store in a file, in one process: the battery, the file's adventures, and what is not believed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbguard.core.errors import StoreUnavailable
from fbguard.stores import sqlite as module
from fbguard.stores.protocol import Claim, Grave
from fbguard.stores.sqlite import SQLiteSpace, SQLiteStore, hands, link, tables
from tests.stores.battery import NEWS, Battery, World, keep, known, listening
from tests.support import NOW, PATIENCE, until, wait_until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

SIZE = 1000


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def world(clock, path) -> World:
    return World(lambda: SQLiteStore(path, size=SIZE, time=clock.time).space("one"), clock.advance, SIZE)


class TestSQLiteStore(Battery):
    """Everything that any store must do."""


@pytest.fixture
def make(path, clock) -> Callable[..., SQLiteSpace]:
    def make(**options: Any) -> SQLiteSpace:
        return SQLiteStore(path, **({"time": clock.time} | options)).space("one")

    return make


def run(work: Callable[[SQLiteSpace], Any], *spaces: SQLiteSpace, debug: bool = False) -> None:
    """Call ``work`` with spaces on a loop of their own, and close them."""

    async def main() -> None:
        try:
            await work(*spaces)
        finally:
            for one in spaces:
                await one.aclose()

    asyncio.run(main(), debug=debug)


@contextlib.contextmanager
def outsider(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection of somebody who knows nothing of us."""
    db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
    try:
        yield db
    finally:
        db.close()


async def is_away(work: Any) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await work
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


async def comes_back(space: SQLiteSpace) -> None:
    """See that all is well with a new file; what begins before this process has written there comes late."""
    await space.forget("t", news=NEWS)
    assert await keep(space, "t")
    assert await known(space, "t") == [True]


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name in {"fbguard reads", "fbguard writes"}]


# -- how it is made --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 1, b"store.db", True, ["store.db"]], ids=repr)
def test_a_path_of_a_wrong_type(wrong):
    with pytest.raises(TypeError, match="path"):
        SQLiteStore(wrong)


def test_a_path_that_is_bytes_inside(tmp_path):
    class Bytes(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path / "store.db")

    with pytest.raises(TypeError, match="path"):
        SQLiteStore(Bytes())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", ":memory:", "a\0b", ".", "no such folder/store.db"])
def test_a_path_that_is_no_file(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="path"):
        SQLiteStore(wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"x", b"not a database, but a text\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="path"):
        SQLiteStore(path)
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == ["store.db"]


@pytest.mark.parametrize("pragma", ["application_id", "user_version"])
def test_a_database_of_somebody_else_is_left_as_it_is(path, make, pragma):
    make()
    with outsider(path) as db:
        db.execute(f"PRAGMA {pragma} = 42")
        db.execute("PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="path"):
        make()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("options", "error"), [
    ({"size": 0}, ValueError), ({"size": "1"}, TypeError), ({"time": 1.0}, TypeError),
])  # fmt: skip
def test_wrong_options(path, options, error):
    with pytest.raises(error, match=next(iter(options))):
        SQLiteStore(path, **options)
    assert not path.exists()


def test_nobody_else_may_read_it(path, make):
    old = os.umask(0)
    try:

        async def main(space: SQLiteSpace) -> None:
            await keep(space, "t")
            files = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
            assert files == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}

        run(main, make())
    finally:
        os.umask(old)
    assert [one.name for one in path.parent.iterdir()] == ["store.db"]


@pytest.mark.skipif(os.name != "posix", reason="no such modes")
@pytest.mark.parametrize(("mode", "is_said"), [
    (0o600, False), (0o711, False), (0o640, True), (0o620, True), (0o604, True), (0o602, True), (0o666, True),
])  # fmt: skip
def test_a_file_that_others_may_use_is_taken_but_not_in_silence(path, make, caplog, mode, is_said):
    run(lambda space: keep(space, "t"), make())
    assert caplog.records == []
    path.chmod(mode)
    run(lambda space: keep(space, "t"), make())
    said = [(one.name, one.levelname, one.getMessage()) for one in caplog.records]
    text = f"the store's file can be read or written by others: chmod 600 {str(path)!r}"
    assert said == ([("fbguard", "WARNING", text)] if is_said else [])


def test_names_with_signs_that_mean_something_in_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a?mode=memory", "file:x", "50%41", "ü #1"):
        store = SQLiteStore(name)
        monkeypatch.chdir(tmp_path.parent)  # where it is was settled when it was made
        run(lambda space: keep(space, "t"), store.space("one"))
        monkeypatch.chdir(tmp_path)
        assert Path(name).stat().st_size > 0


def test_an_empty_file_is_as_good_as_none(path, make):
    path.touch()
    run(lambda space: keep(space, "t"), make())


def test_spaces_have_nothing_in_common(path, clock):
    store = SQLiteStore(path, time=clock.time, size=3)

    async def main(one: SQLiteSpace, two: SQLiteSpace) -> None:
        async with listening(two) as listener:
            for number in range(5):
                await keep(one, f"{number}")
            await keep(two, "4", b"other")
            await one.bury("4", b"stone", ttl=10, news=NEWS)
            await one.bury_user("1", b"stone", at=5, ttl=10, news=NEWS)
            found = await two.find("4")
            assert (found.fact, found.stone, found.user_stone) == (b"other", None, None)
            await listener.settle(two)
            assert listener.heard == []

    run(main, store.space("one"), store.space("two"))


# -- what is bounded -------------------------------------------------------------------------------------


def test_the_oldest_go_first(make):
    async def main(space: SQLiteSpace) -> None:
        for number in range(5):
            await keep(space, f"t{number}", user=str(number))
        assert await known(space, *(f"t{n}" for n in range(5))) == [False] * 2 + [True] * 3
        await keep(space, "t2", user="2")  # again: now it is the youngest
        await keep(space, "t5", user="5")
        assert await known(space, "t2", "t3") == [True, False]

    run(main, make(size=3))


async def bury(space: SQLiteSpace, number: int, ttl: float = 10) -> None:
    """Put tombstones on so many tokens and users."""
    for one in range(number):
        await space.bury(f"{one}", b"stone", ttl=ttl, news=NEWS)
        await space.bury_user(f"{one}", b"stone", at=5, ttl=ttl, news=NEWS)


async def buried(space: SQLiteSpace, number: int) -> list[bool]:
    """Tell which of so many tokens have a tombstone; users have them, too."""
    found = [(await space.find(f"{one}")).stone is not None for one in range(number)]
    assert [await space.stone_of_user(f"{one}") is not None for one in range(number)] == found
    return found


def test_tombstones_stay_although_there_are_more_than_facts(make, caplog):
    async def main(space: SQLiteSpace) -> None:
        await bury(space, 10)
        assert all(await buried(space, 10))

    run(main, make(size=3))
    assert caplog.records == []


def test_the_oldest_tombstones_go_first_but_not_in_silence(make, caplog, monkeypatch):
    monkeypatch.setattr(tables, "MOST_STONES", 3)

    async def main(space: SQLiteSpace) -> None:
        await bury(space, 3)
        await bury(space, 3)  # again: they are no more than before
        assert caplog.records == []
        await bury(space, 5)
        assert await buried(space, 5) == [False] * 2 + [True] * 3

    run(main, make())
    said = [(one.name, one.levelname, one.getMessage()) for one in caplog.records]
    text = "more sessions were ended than the store can keep: the oldest goes"
    assert said == [("fbguard", "WARNING", text)]


def test_tombstones_that_go_when_their_time_is_over_are_no_loss(make, clock, caplog, monkeypatch):
    monkeypatch.setattr(tables, "MOST_STONES", 20)

    async def main(space: SQLiteSpace) -> None:
        await bury(space, 20)
        clock.advance(10)
        monkeypatch.setattr(tables, "_CLEANED", 1)  # so that old ones are left when there are too many
        monkeypatch.setattr(tables, "MOST_STONES", 10)
        await bury(space, 5)
        assert all(await buried(space, 5))

    run(main, make())
    assert caplog.records == []


def test_rows_that_are_over_go_and_rows_are_counted(path, make, clock):
    async def main(space: SQLiteSpace) -> None:
        for number in range(50):
            await keep(space, f"t{number}", ttl=5)
            await space.find(f"c{number}", claim=Claim("1", 5.0))
            await space.forget(f"f{number}", news=NEWS)
        clock.advance(100)
        for number in range(30):
            await keep(space, f"later{number}", user=None)
            await space.forget(f"later{number}", news=NEWS)

    run(main, make())
    with outsider(path) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM news").fetchone() == (30,)
        rows = dict(db.execute("SELECT kind, sum(n) FROM counts GROUP BY kind").fetchall())
        assert rows == {0: 0, 3: 0, 4: 80, 5: 30}


def test_what_was_touched_is_remembered_up_to_a_number(make, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_TOUCHES", 20)

    async def main(space: SQLiteSpace) -> None:
        mark = (await space.find("t")).mark
        await space.forget("t", news=NEWS)
        for number in range(30):
            await space.forget(f"other{number}", news=NEWS)
        assert not await space.keep("t", b"old", user=None, ttl=9, mark=mark)
        assert not await space.keep("new", b"old", user=None, ttl=9, mark=mark)  # nobody knows any more
        assert await keep(space, "t")

    run(main, make())


def test_no_statement_reads_a_whole_table(path, make, monkeypatch):
    monkeypatch.setattr(tables, "MOST_STONES", 1)
    make()
    statements: list[str] = []
    with outsider(path) as db:
        db.set_trace_callback(statements.append)
        rows = tables.Tables(db, 1, NOW, 1)
        db.execute("BEGIN IMMEDIATE")
        for name in (b"a", b"b", b"c"):
            mark = rows.find(name, [b"end"]).mark
            rows.claim(name, b"holder", 5)
            rows.release(name, b"holder")
            assert rows.keep(name, b"fact", b"user", 5, mark)
            rows.bury(name, b"stone", 5)
            rows.tell(b"news")
            rows.stone_of_user(b"user")
            rows.bury_user(b"user", b"stone", 5, 5)
            rows.forget_user(b"user")
            rows.news_since(mark)
        db.execute("ROLLBACK")
        db.set_trace_callback(None)
        plans = {
            (statement, detail)
            for statement in set(statements)
            if statement.startswith(("SELECT", "DELETE", "UPDATE", "\nSELECT"))
            for *_, detail in db.execute(f"EXPLAIN QUERY PLAN {statement}")
        }
    scans = {
        (statement, detail) for statement, detail in plans if "SCAN" in detail or "TEMP B-TREE" in detail
    }
    # One row of meta; the first few news and touches in the order of their keys.
    allowed = (
        "SCAN meta",
        "SCAN news",
        "SCAN touches USING COVERING INDEX by_mark",
        "SCAN (subquery",
        "SCAN SUBQUERY",
    )
    assert not {one for one in scans if not one[1].startswith(allowed)}


# -- claims ----------------------------------------------------------------------------------------------


def test_only_who_writes_waits_for_a_lock(path, make):
    async def main(space: SQLiteSpace) -> None:
        await keep(space, "known")
        await space.find("claimed", claim=Claim("1", 50))
        with outsider(path) as db:
            db.execute("BEGIN IMMEDIATE")
            assert (await space.find("known", claim=Claim("2", 5))).fact == b"fact"
            assert (await space.find("claimed", claim=Claim("2", 5))).is_claimed is False
            assert (await space.find("claimed", claim=Claim("1", 5))).is_claimed is True
            assert (await space.find("nothing")).fact is None
            assert await space.stone_of_user("1") is None
            claiming = asyncio.create_task(space.find("nothing", claim=Claim("2", 5)))
            assert (await space.find("known")).fact == b"fact"
            assert not claiming.done()
            db.execute("COMMIT")
        assert (await claiming).is_claimed is True

    run(main, make())


# -- marks -----------------------------------------------------------------------------------------------


def remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes or ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm"), ("", "-wal"), ("", "-shm")], ids=repr)
@pytest.mark.parametrize("back", [0, 3600], ids=["clock", "clock set back"])
def test_a_file_that_is_deleted_is_made_again_and_takes_no_answers_from_before(
    path, make, clock, suffixes, back
):
    async def main(one: SQLiteSpace, two: SQLiteSpace) -> None:
        for number in range(5):
            await keep(one, f"t{number}")
            await two.forget(f"x{number}", news=NEWS)
        mark, origin = (await two.find("t")).mark, await one.origin()
        remove(path, *suffixes)
        clock.advance(-back)
        await two.bury("t", b"stone", ttl=10, news=NEWS)
        assert await known(one, "t0") == [False]
        for space in (one, two):
            assert not await space.keep("t1", b"old", user=None, ttl=9, mark=mark)
            assert (await space.find("t")).stone == b"stone"
        assert await keep(one, "t1")
        assert await known(two, "t1") == [True]
        assert await one.origin() == await two.origin() != origin

    run(main, make(), make())
    with outsider(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_replaced(path, make, clock):
    """By a copy from before, with the log of the lost one beside it."""
    spaces = make(), make()
    run(lambda one, _: keep(one, "early"), *spaces)
    copy = path.read_bytes()

    async def main(one: SQLiteSpace, two: SQLiteSpace) -> None:
        await keep(one, "late")
        mark = (await two.find("t")).mark
        await one.forget("t", news=NEWS)
        new = path.with_name("new")
        new.write_bytes(copy)
        os.replace(new, path)
        clock.advance(1)
        await one.forget("other", news=NEWS)  # so that the count is beyond the mark
        assert await known(two, "early", "late") == [True, False]
        for space in (one, two):
            assert not await space.keep("t", b"old", user=None, ttl=9, mark=mark)
        assert await keep(two, "late")
        assert await known(one, "early", "late") == [True, True]

    run(main, *spaces)
    with outsider(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_who_listens_is_told_that_the_file_is_another_one(path, make, how):
    async def main(space: SQLiteSpace) -> None:
        news = space.news()
        assert await anext(news) == b""
        if how == "deleted":
            remove(path)
        else:
            new = path.with_name("new")
            SQLiteStore(new)
            remove(path, "-wal", "-shm")
            os.replace(new, path)
        async with asyncio.timeout(PATIENCE):
            await is_away(anext(news))
        async with listening(space) as listener:
            await space.forget("t", news=b"again")
            await listener.settle(space)
            assert listener.heard == [b"again"]

    run(main, make())


# -- news ------------------------------------------------------------------------------------------------


def test_a_listener_hears_nothing_from_before(make, monkeypatch):
    monkeypatch.setattr(tables, "_BATCH", 20)

    async def main(space: SQLiteSpace) -> None:
        for number in range(tables._BATCH + 10):
            await space.forget("t", news=b"%d" % number)
        news = space.news()
        assert await anext(news) == b""
        await space.forget("t", news=b"first")
        assert await anext(news) == b"first"
        await news.aclose()

    run(main, make())


def test_more_news_than_fit_into_one_look(make, monkeypatch):
    monkeypatch.setattr(tables, "_BATCH", 20)
    monkeypatch.setattr(hands, "_PAUSE", 0.2)

    async def main(space: SQLiteSpace) -> None:
        async with listening(space) as listener:
            said = [b"%d" % number for number in range(3 * tables._BATCH)]
            for news in said:
                await space.forget("t", news=news)
            await listener.settle(space)
            assert listener.heard == said

    run(main, make())


@pytest.mark.parametrize("why", ["age", "number"])
def test_who_was_away_too_long_is_told(make, monkeypatch, clock, why):
    monkeypatch.setattr(hands, "_PAUSE", PATIENCE)  # sees nothing by himself
    if why == "number":
        monkeypatch.setattr(tables, "_MOST_NEWS", 5)

    async def main(space: SQLiteSpace) -> None:
        news = space.news()
        assert await anext(news) == b""
        for number in range(10):
            await space.forget("t", news=b"%d" % number)
        clock.advance(100 if why == "age" else 0)
        await space.forget("t", news=b"last")
        await is_away(anext(news))

    run(main, make())


def test_who_listens_to_a_quiet_space_misses_nothing(path, clock, monkeypatch):
    """What another space said is taken away meanwhile."""
    store = SQLiteStore(path, time=clock.time)

    async def main(quiet: SQLiteSpace, loud: SQLiteSpace) -> None:
        async with listening(loud) as other, listening(quiet) as listener:
            monkeypatch.setattr(tables, "_MOST_NEWS", 5)
            for number in range(20):
                await loud.forget("t", news=b"%d" % number)
                await other.settle(loud)
            await quiet.forget("t", news=b"now")
            await listener.settle(quiet)
            assert listener.heard == [b"now"]

    run(main, store.space("quiet"), store.space("loud"))


# -- failures --------------------------------------------------------------------------------------------


async def every_method(space: SQLiteSpace) -> None:
    """See that each says that the store is away."""
    for work in (
        space.find("t"),
        space.keep("t", b"fact", user="1", ttl=5, mark=1),
        space.release("t", "1"),
        space.stone_of_user("1"),
        space.bury("t", b"stone", ttl=5, news=NEWS),
        space.bury_user("1", b"stone", at=5, ttl=5, news=NEWS),
        space.bury_all([Grave("t", b"stone", 5)]),
        space.forget("t", news=NEWS),
        space.forget_user("1", news=NEWS),
        space.origin(),
        anext(space.news()),
    ):
        await is_away(work)


def test_a_file_that_somebody_has_for_himself(path, make, monkeypatch):
    monkeypatch.setattr(hands, "_PATIENCE", 0.01)

    async def main(space: SQLiteSpace) -> None:
        with outsider(path) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
            await every_method(space)
            make()  # a worker that is born now waits for its first question
        assert await keep(space, "t")

    run(main, make())


def test_a_writer_that_holds_the_lock_too_long(path, make, monkeypatch):
    monkeypatch.setattr(hands, "_PATIENCE", 0.01)

    async def main(space: SQLiteSpace) -> None:
        with outsider(path) as db:
            db.execute("BEGIN IMMEDIATE")
            await is_away(space.bury("t", b"stone", ttl=5, news=NEWS))
            assert (await space.find("t")).stone is None
        await space.bury("t", b"stone", ttl=5, news=NEWS)
        assert (await space.find("t")).stone == b"stone"

    run(main, make())


def test_a_file_that_is_damaged(path, make, caplog):
    """It is said once; with another file all is well."""

    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        await space.aclose()
        path.write_bytes(os.urandom(20_000))
        await every_method(space)
        assert len([one for one in caplog.records if "store's file" in one.getMessage()]) == 1
        remove(path)
        await comes_back(space)

    run(main, make())


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such users")
def test_a_file_that_cannot_be_written(path, make, monkeypatch):
    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        await space.aclose()
        if os.geteuid() == 0:  # whom no permission stops
            connect = link.connect

            def readonly(where: str) -> sqlite3.Connection:
                db = connect(where)
                db.execute("PRAGMA query_only = 1")
                return db

            monkeypatch.setattr(link, "connect", readonly)
        path.chmod(0o400)
        assert await known(space, "t") == [True]
        await is_away(space.forget("t", news=NEWS))
        monkeypatch.undo()
        await space.aclose()
        path.chmod(0o600)
        await space.forget("t", news=NEWS)
        assert await known(space, "t") == [False]

    run(main, make())


def test_a_disk_that_is_full(make, monkeypatch):
    is_full, use_log = True, link.use_log

    def full(db: sqlite3.Connection) -> None:
        use_log(db)
        if is_full:
            db.execute("PRAGMA max_page_count = 1")  # as many as there are

    monkeypatch.setattr(link, "use_log", full)

    async def main(space: SQLiteSpace) -> None:
        nonlocal is_full
        await space.bury("small", b"stone", ttl=5, news=NEWS)
        for _ in range(3):
            await is_away(space.bury("t", b"x" * 60_000, ttl=5, news=NEWS))
        found = await space.find("small")
        assert found.stone == b"stone"
        assert (await space.find("t")) == found._replace(stone=None)
        is_full = False
        await space.aclose()
        await space.bury("t", b"x" * 60_000, ttl=5, news=NEWS)
        assert (await space.find("t")).stone == b"x" * 60_000

    run(main, make())


def test_a_folder_that_is_gone(tmp_path, clock):
    folder = tmp_path / "folder"
    folder.mkdir()
    space = SQLiteStore(folder / "store.db", time=clock.time).space("one")

    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        folder.rename(tmp_path / "elsewhere")
        await every_method(space)
        folder.mkdir()
        await comes_back(space)

    run(main, space)


def test_a_listener_hears_of_a_file_that_cannot_be_used(path, make, monkeypatch):
    monkeypatch.setattr(module, "_LOST", 0.1)
    monkeypatch.setattr(module, "_LOOK", 0.05)

    async def main(space: SQLiteSpace) -> None:
        news = space.news()
        assert await anext(news) == b""
        os.replace(path, path.with_name("old"))
        path.write_bytes(os.urandom(20_000))
        async with asyncio.timeout(PATIENCE):
            await is_away(anext(news))

    run(main, make())


def test_a_listener_hears_of_a_thread_that_hangs(make, monkeypatch):
    monkeypatch.setattr(module, "_LOST", 0.1)
    released = threading.Event()

    async def main(space: SQLiteSpace) -> None:
        news = space.news()
        assert await anext(news) == b""
        hanging = asyncio.create_task(space._hands.read(lambda *_: released.wait(PATIENCE)))
        async with asyncio.timeout(PATIENCE):
            await is_away(anext(news))
        released.set()
        assert await hanging

    run(main, make())


def test_who_begins_to_listen_hears_of_a_thread_that_hangs(make, monkeypatch):
    monkeypatch.setattr(module, "_LOST", 0.1)
    released = threading.Event()

    async def main(space: SQLiteSpace) -> None:
        hanging = asyncio.create_task(space._hands.read(lambda *_: released.wait(PATIENCE)))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await is_away(anext(space.news()))
        released.set()
        assert await hanging

    run(main, make())


@pytest.mark.parametrize("value", ["NULL", "'text'", "1", "1.5", f"zeroblob({tables.MOST + 1})"])
def test_values_of_a_wrong_kind_are_not_there(path, make, value):
    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        await space.bury("buried", b"stone", ttl=5, news=NEWS)
        await space.bury_user("buried", b"stone", at=5, ttl=5, news=NEWS)
        await space.find("claimed", claim=Claim("1", 5))
        async with listening(space) as listener:
            with outsider(path) as db:
                db.execute("PRAGMA ignore_check_constraints = 1")
                if value == "NULL":  # which the table refuses
                    db.execute("DELETE FROM entries")
                else:
                    db.execute(f"UPDATE entries SET value = {value}")
                    db.execute("UPDATE meta SET mark = mark + 1")
                    db.execute(f"INSERT INTO news SELECT mark, {space._number}, {value} FROM meta")
            found = await space.find("t", claim=Claim("2", 5))
            assert (found.fact, found.is_claimed) == (None, True)
            assert (await space.find("buried")).stone is None
            assert await space.stone_of_user("buried") is None
            assert (await space.find("claimed", claim=Claim("2", 5))).is_claimed is True
            assert list(await space.bury_user("1", b"stone", at=5, ttl=5, news=b"news")) == []
            await listener.settle(space)
            assert listener.heard == [b"news"]

    run(main, make())


def test_values_that_are_too_long_are_a_fault_of_the_program(make):
    async def main(space: SQLiteSpace) -> None:
        with pytest.raises(ValueError, match="262144"):
            await space.bury("t", bytes(tables.MOST + 1), ttl=5, news=NEWS)
        await space.bury("t", bytes(tables.MOST), ttl=5, news=NEWS)
        assert (await space.find("t")).stone == bytes(tables.MOST)

    run(main, make())


def test_a_fault_of_the_program_is_no_failure_of_the_store(make):
    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        with pytest.raises(ZeroDivisionError):
            await space._write(lambda _: 1 // 0, is_synced=True)
        assert await known(space, "t") == [True]
        assert await keep(space, "t")

    run(main, make())


# -- loops, threads and ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fbguard reads", "fbguard writes"])
def test_threads_that_cannot_be_had_are_tried_again(make, monkeypatch, caplog, name):
    start, fails = threading.Thread.start, [name]

    def start_or_not(thread: threading.Thread) -> None:
        if thread.name in fails:
            fails.clear()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_not)

    async def main(space: SQLiteSpace) -> None:
        async with asyncio.timeout(PATIENCE):
            await is_away(space.bury("t", b"stone", ttl=5, news=NEWS))
            await space.bury("t", b"stone", ttl=5, news=NEWS)
            assert (await space.find("t")).stone == b"stone"
        await until(lambda: sorted(threads()) == ["fbguard reads", "fbguard writes"])

    run(main, make())
    assert threads() == []
    assert "can't start new thread" in caplog.text


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_would_end_a_thread_ends_one_job(make, clock, end):
    ends: list[type[BaseException]] = []

    def time() -> float:
        if ends:
            raise ends.pop()
        return clock.time()

    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        for work in (space.bury("t", b"stone", ttl=5, news=NEWS), space.find("t")):
            ends.append(end)
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(RuntimeError, match=end.__name__):
                    await work
        async with asyncio.timeout(PATIENCE):
            await space.bury("u", b"stone", ttl=5, news=NEWS)
            assert (await space.find("u")).stone == b"stone"
            assert await known(space, "t") == [True]

    run(main, make(time=time))


@pytest.mark.parametrize("end", [ValueError, SystemExit])
def test_a_logging_filter_that_raises_ends_no_thread(path, make, end):
    def refuse(record: logging.LogRecord) -> bool:
        raise end

    logger = logging.getLogger("fbguard")

    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        os.replace(path, path.with_name("old"))
        path.write_bytes(os.urandom(20_000))
        logger.addFilter(refuse)
        try:
            async with asyncio.timeout(PATIENCE):
                await is_away(space.find("t"))
                await is_away(space.bury("t", b"stone", ttl=5, news=NEWS))
        finally:
            logger.removeFilter(refuse)
        path.unlink()
        async with asyncio.timeout(PATIENCE):
            await comes_back(space)

    run(main, make())


def test_threads_that_are_gone_are_made_anew(make, monkeypatch):
    """Whatever has ended them. What waited for one of them is done by nobody, and that is said."""
    released = threading.Event()

    def die(*_: object) -> bool:
        released.wait(PATIENCE)
        raise SystemExit

    async def main(space: SQLiteSpace) -> None:
        await keep(space, "t")
        with monkeypatch.context() as patch:
            patch.setattr(threading, "excepthook", lambda _: None)
            patch.setattr(hands._Job, "run", die)
            lost, waiting = [asyncio.create_task(space.find("t")) for _ in range(2)]
            await asyncio.sleep(0)
            released.set()
            await until(lambda: threads() == ["fbguard writes"])
        async with asyncio.timeout(PATIENCE):
            assert await known(space, "t") == [True]
            await is_away(waiting)
        await until(lambda: sorted(threads()) == ["fbguard reads", "fbguard writes"])
        lost.cancel()

    run(main, make())
    assert threads() == []


def test_a_caller_that_is_cancelled(path, make):
    """A tombstone is put all the same; a fact is nobody's any more."""

    async def main(space: SQLiteSpace) -> None:
        mark = (await space.find("t")).mark
        with outsider(path) as db:
            db.execute("BEGIN IMMEDIATE")
            tasks = [
                asyncio.create_task(space.bury("t", b"stone", ttl=5, news=NEWS)),
                asyncio.create_task(space.keep("other", b"fact", user="1", ttl=5, mark=mark)),
                asyncio.create_task(space.bury("u", b"stone", ttl=5, news=NEWS)),
            ]
            await space.find("t")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            db.execute("COMMIT")
        await space.bury("last", b"stone", ttl=5, news=NEWS)  # behind them
        assert [(await space.find(name)).stone for name in ("t", "u")] == [b"stone"] * 2
        assert await known(space, "other") == [False]

    run(main, make(), debug=True)


def test_several_loops_share_two_threads(make):
    space, barrier = make(), threading.Barrier(4)

    async def main(number: int) -> None:
        await asyncio.to_thread(barrier.wait, PATIENCE)
        for step in range(20):
            assert await keep(space, f"{number} {step}")
        await asyncio.to_thread(barrier.wait, PATIENCE)
        assert sorted(threads()) == ["fbguard reads", "fbguard writes"]
        await asyncio.to_thread(barrier.wait, PATIENCE)
        await space.aclose()

    workers = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(3 * PATIENCE)
    assert threads() == []


def test_a_loop_that_goes_leaves_the_others_what_they_have(make):
    space = make()

    async def main() -> None:
        await keep(space, "t")
        await asyncio.to_thread(asyncio.run, other())
        assert len(threads()) == 2
        assert await known(space, "t") == [True]
        await space.aclose()
        assert threads() == []

    async def other() -> None:
        assert await known(space, "t") == [True]
        await space.aclose()

    asyncio.run(main())


def test_a_store_that_nobody_closes_closes_itself(path, make):
    space = make()
    asyncio.run(keep(space, "t"))
    assert len(threads()) == 2
    gone = weakref.ref(space._store)
    del space
    wait_until(lambda: gc.collect() >= 0 and gone() is None)  # the thread may be about to let go
    wait_until(lambda: threads() == [])
    assert [one.name for one in path.parent.iterdir()] == ["store.db"]


def test_of_threads_that_close_at_once_the_last_puts_the_log_away(path, make):
    for _ in range(100):
        run(lambda space: keep(space, "t"), make())
        assert [one.name for one in path.parent.iterdir()] == ["store.db"]


def test_a_loop_that_ended_while_it_listened_hinders_nobody(make):
    space, loop = make(), asyncio.new_event_loop()
    news = space.news()

    async def first() -> None:
        await anext(news)
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        waiting.cancel()

    loop.run_until_complete(first())
    loop.close()

    async def main(space: SQLiteSpace) -> None:
        async with listening(space) as listener:
            await space.forget("t", news=b"later")
            await listener.settle(space)
            assert listener.heard == [b"later"]

    run(main, space)
    assert threads() == []
