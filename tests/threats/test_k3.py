"""Rows K04 to K07 and K12: what lies in the store, and who may have written it."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fbguard import assembly
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.stores import codec, shared
from fbguard.stores.protocol import Claim
from tests.redis_servers import HOST, RedisServer
from tests.support import APP_ID, NOW, PATIENCE, SECRET, TOKEN, FakeClock, FakeGraph, dead, facts, valid
from tests.threats.workers import Fleet, Vault, Worker, eventually

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

ENDED = "session_invalidated"
USER = "998877665544332211"  # of no length that a number has by chance
OTHER = "887766554433221100"


@pytest.fixture
def vault(redis_server: RedisServer) -> Vault:
    return Vault(redis_server.client())


@pytest.fixture(autouse=True)
def short_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long for a claim that was made by nobody."""
    monkeypatch.setattr(shared, "CLAIM", 0.05)


def name_of(worker: Worker, token: str) -> str:
    return worker.guard._revoker.shared._values.token_name(key_of(Secret(token)))


def end_name_of(worker: Worker, token: str) -> str:
    [name] = worker.guard._revoker.shared._values.end_names(key_of(Secret(token)))
    return name


def user_name_of(worker: Worker, user: str) -> str:
    return worker.guard._revoker.shared._values.user_name(user)


def fill(fleet: Fleet, url: str, vault: Vault) -> Worker:
    """Have one of everything in the store; return the worker that did it."""
    graph = fleet.graph
    graph.default = valid(user_id=USER, issued_at=NOW - 10)
    graph.replies["EAAleft"] = graph.replies["EAAalsoLeft"] = valid(user_id=OTHER, issued_at=NOW - 10)
    graph.replies["EAAdead"] = dead(190, 463)
    one = fleet.worker(url).heard()
    assert one.all_said([TOKEN, "EAAended", "EAAleft", "EAAdead"]) == ["ok"] * 3 + ["expired"]
    one.end("EAAended")
    one.end_user(NOW, OTHER)
    assert one.said("EAAalsoLeft") == "not_authorized"
    space = one.guard._revoker.shared._space

    async def claim() -> None:
        await space.find(name_of(one, "EAAclaimed"), claim=Claim("somebody", PATIENCE))
        await space.aclose()

    asyncio.run(claim())
    kinds = {vault.kind(key) for key in vault.held()}
    assert kinds == {"fact", "stone", "claim", "user", "index", "token!", "user!", "count"}
    return one


def fields(vault: Vault) -> list[tuple[bytes, str | None]]:
    """Return every place that holds a value: keys, and fields of hashes."""
    places: list[tuple[bytes, str | None]] = []
    for key in vault.held():
        kind = vault.client.type(key)
        if kind == b"hash":
            places += [(key, field.decode()) for field in vault.client.hkeys(key)]
        elif kind == b"string":
            places.append((key, None))
    return places


def put(vault: Vault, place: tuple[bytes, str | None], value: bytes) -> None:
    key, field = place
    if field is None:
        vault.client.set(key, value)
    else:
        vault.client.hset(key, field, value)


def get(vault: Vault, place: tuple[bytes, str | None]) -> bytes:
    key, field = place
    found: bytes = vault.client.get(key) if field is None else vault.client.hget(key, field)
    return found


def go_on(worker: Worker) -> dict[str, str]:
    """Do everything that may be done; nothing may be raised but that the store is away."""
    tokens = [TOKEN, "EAAended", "EAAleft", "EAAalsoLeft", "EAAdead", "EAAclaimed", "EAAnew"]
    said = dict(zip(tokens, worker.all_said(tokens), strict=True))
    for user in (USER, OTHER):
        worker.try_to(lambda user=user: worker.forget_user(user))
        worker.try_to(lambda user=user: worker.end_user(NOW + 1, user))
    for token in tokens:
        worker.try_to(lambda token=token: worker.end(token))
        assert worker.said(token) in {ENDED, "not_authorized"}  # as of what came first
    return said


# -- K04, and what else is put in place of a value -----------------------------------------------------


class Runs:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self._path,))


FORGED = json.dumps(facts() | {"good": True, "said": NOW, "since": NOW}).encode()
POISON: dict[str, Callable[[bytes], bytes]] = {
    "pickle": lambda _: b"",  # see below
    "forged": lambda _: FORGED,
    "zeros for a MAC": lambda _: b"0" * 64 + FORGED,
    "nothing": lambda _: b"",
    "truncated": lambda value: value[: len(value) // 2],
    "one bit": lambda value: bytes([value[0] ^ 1]) + value[1:],
    "not UTF-8": lambda _: b"\xff\xfe" * 40,
    "deep": lambda _: b"0" * 64 + b"[" * 60_000,
    "infinite": lambda _: b"inf",
    "no number": lambda _: b"nan",
    "negative": lambda _: b"-1",
    "vast": lambda _: b"1e300",
    "hexadecimal": lambda _: b"0x7fffffffffffffff",
}


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("how", POISON)
def test_K04_poisoned_values(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, tmp_path: Path, how: str
):
    """In every place at once; to whoever comes then, each is a miss, and Graph decides."""
    one = fill(fleet, redis_server.url, vault)
    ran = tmp_path / "ran"
    for place in fields(vault):
        value = POISON[how](get(vault, place)) if how != "pickle" else pickle.dumps(Runs(ran), 4)
        put(vault, place, value)
    graph.replies.clear()
    graph.default = dead(190, 460, user_id=USER)
    late = fleet.worker(redis_server.url)
    assert set(go_on(late).values()) == {"password_changed"}
    assert late.unreadable >= 2
    assert not ran.exists()
    assert one.said("EAAended") == ENDED  # who has heard of it still knows
    late.heard()
    graph.default = valid(user_id="5")  # and it works as before
    assert [late.said("EAAanother"), fleet.worker(redis_server.url).said("EAAanother")] == ["ok", "ok"]
    assert graph.calls.count("EAAanother") == 1


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(("start", "now"), [("9" * 15, "1"), ("9" * 20, "9" * 20), ("", ""), ("x", "1")])
def test_K04_a_count_that_makes_every_answer_late(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, start: str, now: str
):
    fleet.worker(redis_server.url).said()
    [count] = vault.held("count")
    vault.client.hset(count, mapping={"start": start, "now": now})
    assert fleet.worker(redis_server.url).all_said(["EAAone", "EAAtwo"]) == ["ok"] * 2
    assert fleet.worker(redis_server.url).all_said(["EAAone", "EAAtwo"]) == ["ok"] * 2
    assert len(graph.calls) == 3  # and they are kept


TYPES: dict[str, Callable[[Any, bytes], object]] = {
    "string": lambda client, key: client.set(key, b"x"),
    "list": lambda client, key: client.rpush(key, b"x"),
    "set": lambda client, key: client.sadd(key, b"x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("kind", TYPES)
def test_K11_values_of_another_type(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, kind: str
):
    fill(fleet, redis_server.url, vault)
    for key in vault.held():
        vault.client.delete(key)
        TYPES[kind](vault.client, key)
    graph.replies.clear()
    graph.default = dead(190, 460, user_id=USER)
    late = fleet.worker(redis_server.url)
    assert set(go_on(late).values()) == {"password_changed"}
    assert late.failed == 0  # each is a miss, and no error of the server's
    late.heard()
    graph.default = valid(user_id="5")
    assert [late.said("EAAanother"), fleet.worker(redis_server.url).said("EAAanother")] == ["ok", "ok"]
    assert graph.calls.count("EAAanother") == 1


HUGE = b"x" * (64 << 20)


@pytest.mark.slow
def test_K04_vast_values(fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph):
    """64 MiB in one place after the other, of each kind."""
    one = fill(fleet, redis_server.url, vault)
    mine = next(key for key in vault.held("fact") if name_of(one, TOKEN).encode() in key)
    places = {(vault.kind(place[0]), place[1]): place for place in fields(vault)}
    places |= {("fact", field): (mine, field) for field in ("fact", "user")}
    assert len(places) == 10
    graph.replies.clear()
    graph.default = dead(190, 460, user_id=USER)
    for place in places.values():
        before = vault.client.dump(place[0])
        if place[1] is None:
            vault.client.setrange(place[0], len(HUGE) - 1, b"x")
        else:
            vault.client.hset(*place, HUGE)
        late = fleet.worker(redis_server.url)
        start = time.perf_counter()
        said = [late.said(token) for token in ("EAAended", "EAAleft", "EAAclaimed", TOKEN)]
        late.try_to(lambda late=late: late.end_user(NOW, OTHER))
        late.try_to(lambda late=late: late.end("EAAended"))
        assert time.perf_counter() - start < 2.0, place  # a fiftieth of it, as a rule
        assert said[3] == "password_changed" or place[0] != mine
        assert "ok" not in said[:3]
        late.close()
        vault.client.restore(place[0], round(PATIENCE * 1000), before, replace=True)


# -- K05 -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
class Test_K05_forged_or_swapped:  # noqa: N801
    def test_K05_a_fact_of_another_token(self, fleet, redis_server, vault, graph):
        one = fill(fleet, redis_server.url, vault)
        graph.replies["EAAbad"] = dead(190, 460)
        assert one.said("EAAbad") == "password_changed"
        good, bad = (
            key.replace(b"?", name_of(one, token).encode())
            for key, token in [(self._key(vault, "fact"), TOKEN), (self._key(vault, "fact"), "EAAbad")]
        )
        vault.client.restore(bad, round(PATIENCE * 1000), vault.client.dump(good), replace=True)
        late = fleet.worker(redis_server.url)
        assert (late.said("EAAbad"), late.unreadable) == ("password_changed", 1)

    @staticmethod
    def _key(vault: Vault, kind: str) -> bytes:
        """Return a pattern of the keys of a kind."""
        return vault.held(kind)[0].partition(b"}:")[0] + b"}:" + kind.encode() + b":?"

    def test_K05_tombstones_of_others(self, fleet, redis_server, vault, graph):
        """Nobody is refused by a tombstone that was moved, made up, or is of another kind."""
        one = fill(fleet, redis_server.url, vault)
        stone = vault.client.get(vault.held("stone")[-1])
        users_key = self._key(vault, "user").replace(b"?", user_name_of(one, USER).encode())
        [users] = [
            value
            for key in vault.held("user")
            if vault.kind(key) == "user" and (value := vault.client.hget(key, "stone"))
        ]
        key = self._key(vault, "stone").replace(b"?", end_name_of(one, TOKEN).encode())
        forged = json.dumps({"why": ENDED, "until": NOW * 2, "at": 0, "heard": 0}).encode()
        for number, value in enumerate([stone, users, forged, b"0" * 64 + forged], 1):
            vault.client.set(key, value)
            late = fleet.worker(redis_server.url)
            assert (late.said(), late.unreadable) == ("ok", 1), number
        vault.client.delete(key)
        for value in (users, stone, forged):
            vault.client.hset(users_key, mapping={"stone": value, "at": NOW})
            late = fleet.worker(redis_server.url)
            assert (late.said(), late.unreadable) == ("ok", 1)

    @pytest.mark.parametrize("with_user", ["as it was", "of nobody", "of another"])
    @pytest.mark.parametrize("how", ["end", "end_user"])
    def test_K05_an_old_fact_is_put_back(self, fleet, redis_server, vault, how, with_user, clock):
        one = fill(fleet, redis_server.url, vault)
        other = fleet.worker(redis_server.url).heard()
        assert other.said() == "ok"
        key = self._key(vault, "fact").replace(b"?", name_of(one, TOKEN).encode())
        old = vault.client.hgetall(key)
        assert old
        clock.advance(1)
        one.end() if how == "end" else one.end_user(NOW + 1, USER)
        expected = ENDED if how == "end" else "not_authorized"
        eventually(lambda: other.guard.peek(TOKEN) is None)
        if with_user == "of nobody":
            del old[b"user"]
        elif with_user == "of another":
            old[b"user"] = user_name_of(one, "77").encode()
        for _ in range(3):
            vault.client.hset(key, mapping=old)
            for worker in (one, other, fleet.worker(redis_server.url)):
                assert worker.said() == expected

    def test_K05_the_secret_of_another_app(self, fleet, redis_server, vault, graph):
        one = fill(fleet, redis_server.url, vault)
        stranger = fleet.worker(redis_server.url, app_secret="f" * 16 + SECRET[:16])
        assert stranger.said("EAAbad") == "ok"
        graph.replies["EAAbad"] = dead(190, 460)
        key = self._key(vault, "fact")
        theirs, ours = (key.replace(b"?", name_of(who, "EAAbad").encode()) for who in (stranger, one))
        assert theirs != ours
        vault.client.rename(theirs, ours)
        late = fleet.worker(redis_server.url)
        assert (late.said("EAAbad"), late.unreadable) == ("password_changed", 1)
        assert stranger.unreadable == 0

    def test_K05_another_schema(self, fleet, redis_server, vault, graph, monkeypatch):
        one = fill(fleet, redis_server.url, vault)
        for module in (codec, assembly):
            monkeypatch.setattr(module, "SCHEMA", "2")
        newer = fleet.worker(redis_server.url)
        monkeypatch.undo()
        assert newer.said("EAAbad") == "ok"
        graph.replies["EAAbad"] = dead(190, 460)
        [theirs] = [key for key in vault.held("fact") if key.startswith(b"{fbguard:2:")]
        ours = self._key(vault, "fact").replace(b"?", name_of(one, "EAAbad").encode())
        vault.client.rename(theirs, ours)
        late = fleet.worker(redis_server.url)
        assert (late.said("EAAbad"), late.unreadable) == ("password_changed", 1)

    def test_K05_what_is_not_ours_is_counted_each_time(self, fleet, redis_server, vault):
        fill(fleet, redis_server.url, vault)
        for place in fields(vault):
            if place[1] == "fact":
                put(vault, place, b'{"is_valid":true}')
        late = fleet.worker(redis_server.url)
        assert late.guard.health().store.unreadable == 0
        late.said()
        assert late.guard.health().store.unreadable == 1


# -- K06 -----------------------------------------------------------------------------------------------

_KINDS = "stone|token!|user|index|user!"
_SPACE = rf"\{{fbguard:1:{APP_ID}:graph\.facebook\.com\}}"
_FACTS = r"(fact|claim|token!|stone):v26\.0"  # each version's own; the last two are also of ends
_KEY = re.compile(rf"{_SPACE}:(count|({_FACTS}|{_KINDS}):[0-9a-f]{{64}})")
_CHANNEL = re.compile(rf"{_SPACE}:news:0(:[0-9a-f]{{32}})?")
_WORDS = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_SEALED = re.compile(rb"[0-9a-f]{64}\{.*\}", re.DOTALL)  # a value: what it holds is said in docs/sharing.md


class Monitor:
    """Sees every command, also those of scripts."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._socket = socket.create_connection((HOST, server.port), PATIENCE)
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"

    def seen(self) -> bytes:
        self._server.ask("ECHO", "the end of it")
        said = b""
        while b"the end of it" not in said:
            said += self._socket.recv(1 << 20)
        self._socket.close()
        return said


@pytest.mark.usefixtures("calm")
def test_K06_nothing_stands_in_the_clear(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph
):
    monitor = Monitor(redis_server)
    one = fill(fleet, redis_server.url, vault)
    other = fleet.worker(redis_server.url).heard()
    other.all_said([TOKEN, "EAAnext"])
    one.guard.forget(Secret("EAAnext"))
    keys = [key.decode() for key in vault.held()]
    channels = [channel.decode() for channel in vault.client.pubsub_channels()]
    other.forget_user(USER)
    other.end_user(NOW + 1, USER)
    seen = monitor.seen()
    assert [key for key in keys if not _KEY.fullmatch(key)] == []
    assert len(channels) == 3
    assert [channel for channel in channels if not _CHANNEL.fullmatch(channel)] == []
    words = _WORDS.findall(seen)
    assert b"HSET" in words
    assert any(_SEALED.fullmatch(word) for word in words)
    tokens = [TOKEN, "EAAended", "EAAleft", "EAAalsoLeft", "EAAdead", "EAAclaimed", "EAAnext"]
    for secret in (*tokens, SECRET):
        assert secret.encode() not in seen
    named = b" ".join(word for word in words if not _SEALED.fullmatch(word))
    for text in (USER, OTHER, *tokens):
        assert text.encode() not in named
        assert hashlib.sha256(text.encode()).hexdigest().encode() not in named  # a hash without a key


# -- K07 -----------------------------------------------------------------------------------------------

DIFFERENT: dict[str, dict[str, Any]] = {
    "app": {"app_id": "42"},
    "a longer app": {"app_id": APP_ID + "0"},
    "host": {"graph_url": "https://graph.example.com"},
    "port": {"graph_url": "https://graph.facebook.com:8443"},
    "path": {"graph_url": "https://graph.facebook.com/staging"},
    "secret": {"app_secret": "f" * 16 + SECRET[:16]},
    "database": {},
}


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("what", DIFFERENT)
def test_K07_others_share_nothing(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, clock: FakeClock, what: str
):
    options = DIFFERENT[what]
    theirs = FakeGraph()
    theirs.default = valid(app_id=options.get("app_id", APP_ID))
    one = fleet.worker(redis_server.url).heard()
    url = f"{redis_server.url}/1" if what == "database" else redis_server.url
    stranger = fleet.worker(url, graph=theirs, **options).heard()
    before = set(vault.held("fact"))
    assert [one.said(), one.said("EAAended"), stranger.said(), stranger.said("EAAended")] == ["ok"] * 4
    assert [graph.calls.count(TOKEN), theirs.calls.count(TOKEN)] == [1, 1]
    clock.advance(1)
    one.end("EAAended")
    one.end_user(clock.wall, "1001")
    mark = stranger.guard._cache.mark()
    stranger.forget_user("nobody")
    eventually(lambda: stranger.guard._cache.mark() >= mark + 2)  # so it has heard all that came before
    calls = len(theirs.calls)
    assert [stranger.said(), stranger.said("EAAended")] == ["ok", "ok"]
    assert len(theirs.calls) == calls
    assert [one.said(), one.said("EAAended")] == ["not_authorized", ENDED]
    assert fleet.worker(url, graph=theirs, **options).said("EAAended") == "ok"
    if what not in {"secret", "database"}:  # which differ in the hashes, and lie elsewhere
        where = options.get("graph_url", "https://graph.facebook.com").removeprefix("https://")
        prefix = f"{{fbguard:1:{options.get('app_id', APP_ID)}:{where}}}:fact:v26.0:".encode()
        assert [key for key in set(vault.held("fact")) - before if key.startswith(prefix)]


@pytest.mark.usefixtures("calm")
def test_K07_versions_of_graph_share_no_facts_but_what_has_ended(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph
):
    one, other = (
        fleet.worker(redis_server.url, graph_version=version).heard() for version in ("v25.0", "v26.0")
    )
    assert [one.said(), other.said()] == ["ok", "ok"]
    assert graph.calls.count(TOKEN) == 2
    versions = sorted(key.partition(b"}:fact:")[2].partition(b":")[0] for key in vault.held("fact"))
    assert set(versions) == {b"v25.0", b"v26.0"}
    one.end()
    eventually(lambda: other.said() == ENDED)
    assert fleet.worker(redis_server.url, graph_version="v27.0").said() == ENDED


# -- K12 -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
def test_K12_every_key_ends(fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph):
    one = fill(fleet, redis_server.url, vault)
    graph.replies["EAAforever"] = valid(expires_at=0, user_id=USER)
    assert one.said("EAAforever") == "ok"
    one.end("EAAforever")  # its tombstone stays for a hundred years
    one.guard.forget(Secret(TOKEN))
    late = fleet.worker(redis_server.url).heard()
    late.all_said([TOKEN, "EAAnext", "EAAdead"])
    late.forget_user(USER)
    late.all_said([TOKEN, "EAAnext"])
    seen: set[str] = set()
    for key in vault.held():
        seen.add(vault.kind(key))
        assert 0 < vault.client.pttl(key) <= 100 * 366 * 86_400_000, key
    assert seen == {"fact", "stone", "claim", "user", "index", "token!", "user!", "count"}
    assert redis_server.ask("DBSIZE") == redis_server.ask("INFO", "keyspace").count(b"expires=") * len(
        vault.held()
    )
