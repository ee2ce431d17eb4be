"""The store on Redis, by the battery that any store must pass, over each way to reach one."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from fbguard import Guard, Refused
from fbguard.core.errors import StoreUnavailable
from fbguard.stores import access
from fbguard.stores.redis import RedisStore, link, scripts
from fbguard.stores.redis.address import Address, Kind
from tests.redis_relay import Relay
from tests.redis_servers import HOST, RedisCluster, RedisServer, WatchedRedis
from tests.stores.battery import Battery, World
from tests.support import TOKEN, FakeClock, FakeGraph, make_guard
from tests.threats.workers import calm, eventually
from tests.upstream.certificates import OPENSSL, Certificates

__all__ = ["calm"]

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


def advance(clients: Sequence[redis.Redis], seconds: float) -> None:
    """Let time go by for all keys: each ends so much earlier."""
    for client in clients:
        for key in client.scan_iter():
            left = client.pttl(key) - seconds * 1000
            assert client.pttl(key) > 0, key
            if client.type(key) == b"zset":
                for member, score in client.zrange(key, 0, -1, withscores=True):
                    client.zadd(key, {member: score - seconds * 1000})
            client.pexpire(key, max(round(left), 0))


def world_of(url: str, *servers: RedisServer, db: int = 0) -> World:
    clients = [server.client(db=db) for server in servers]
    return World(lambda: RedisStore(url).space("app"), lambda seconds: advance(clients, seconds))


class TestRedisStore(Battery):
    """Everything that any store must do, but for a number of facts: Redis has a limit of its own."""

    test_the_number_of_facts_is_bounded: Any = None

    @pytest.fixture
    def world(self, redis_server: RedisServer) -> World:
        return world_of(redis_server.url, redis_server)


class Core(Battery):
    """The same without what does not depend on the way to the server, and takes its time."""

    test_names_and_users_are_opaque: Any = None
    test_nobody_resurrects_what_ended: Any = None
    test_news_from_several_loops_and_threads: Any = None
    test_a_user_of_a_thousand_tokens: Any = None
    test_the_number_of_facts_is_bounded: Any = None


KEPT: Final = {
    "test_values_are_opaque",
    "test_a_fact_ends",
    "test_a_claim_is_released_by_its_holder",
    "test_bury_all_takes_each",
    "test_bury_user_takes_all_and_says_what_it_took",
    "test_marks_grow",
    "test_news_come_in_order_to_everybody",
    "test_who_leaves_hears_no_more_and_hinders_nobody",
    "test_closing_twice_and_using_it_on_another_loop",
}


class Few(Battery):
    """What tells whether one gets there at all."""

    for name in set(vars(Battery)) - KEPT:
        if name.startswith("test_"):
            locals()[name] = None


@pytest.fixture(scope="module")
def socket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, Path]]:
    path = tmp_path_factory.mktemp("redis") / "a b.sock"
    with RedisServer(options=["--unixsocket", str(path)]) as server:
        yield server, path


class TestOverASocket(Few):
    @pytest.fixture
    def world(self, socket_server: tuple[RedisServer, Path]) -> World:
        server, path = socket_server
        server.empty()
        return world_of(f"unix://{str(path).replace(' ', '%20')}?db=2", server, db=2)


@pytest.fixture(scope="module")
def locked_server() -> Iterator[RedisServer]:
    with RedisServer(password="p@:/%") as server:
        yield server


class TestWithAPassword(Few):
    @pytest.fixture
    def world(self, locked_server: RedisServer) -> World:
        locked_server.empty()
        return world_of(f"redis://:p%40%3A%2F%25@127.0.0.1:{locked_server.port}/3", locked_server, db=3)


class TestInACluster(Core):
    @pytest.fixture
    def world(self, redis_cluster: RedisCluster) -> World:
        return world_of(redis_cluster.url, *redis_cluster.servers)


@pytest.fixture(scope="module")
def calm_watch() -> Iterator[WatchedRedis]:
    with WatchedRedis() as watched:
        yield watched


class TestBehindASentinel(Core):
    @pytest.fixture
    def world(self, calm_watch: WatchedRedis) -> World:
        calm_watch.master.empty()
        return world_of(calm_watch.url, calm_watch.master)


# -- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if OPENSSL is None:
        pytest.skip("no openssl to make certificates with")
    return Certificates(tmp_path_factory.mktemp("certificates"))


def secure(relay: Relay, authority: Path) -> str:
    return f"{relay.url}?ssl_ca_certs={authority}"


class TestOverTLS(Few):
    """Spoken by a relay in front: not every server is built with it."""

    @pytest.fixture
    def world(self, redis_server: RedisServer, certificates: Certificates) -> Iterator[World]:
        with Relay(redis_server.port, certificates.context("good")) as relay:
            yield world_of(secure(relay, certificates.authority), redis_server)


async def _find(url: str) -> None:
    space = RedisStore(url).space("app")
    try:
        await space.find("t")
    finally:
        await space.aclose()


@pytest.mark.parametrize("name", ["good", "expired", "wrong_name", "self_signed"])
def test_a_certificate_is_checked(redis_server: RedisServer, certificates: Certificates, name: str):
    with Relay(redis_server.port, certificates.context(name)) as relay:
        for url in (secure(relay, certificates.authority), relay.url):
            if name == "good" and url != relay.url:
                asyncio.run(_find(url))
            else:
                with pytest.raises(StoreUnavailable):
                    asyncio.run(_find(url))


def test_no_tls_where_none_is_spoken(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link, "_PATIENCE", 0.2)
    with pytest.raises(StoreUnavailable):
        asyncio.run(_find(redis_server.url.replace("redis:", "rediss:")))


@pytest.mark.parametrize("host", ["a..b", 64 * "a"])
@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
def test_a_host_that_is_no_name_is_a_store_that_is_away(kind: Kind, host: str):
    """No URL names one, but sentinels and nodes of a cluster may; it is no OSError."""

    async def main() -> None:
        one = link.Link(Address(kind, ((host, 6379),), service="m"))
        for work in (one.run(scripts.RELEASE, "count", ":", "t", "1"), anext(one.news("channel", "count"))):
            with pytest.raises(StoreUnavailable):
                await work
        await one.aclose()

    asyncio.run(main())


def said(guard: Guard, token: str = TOKEN) -> str:
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return "ok"


def is_heard(guard: Guard) -> bool:
    health = guard.health().store
    return health is not None and health.status == "ok"


def test_nothing_on_the_way_may_swallow_a_cancellation(redis_server, graph, clock, monkeypatch):
    """asyncio.wait_for of Python 3.11 does: a closed guard went on listening."""

    async def wait_for(*_: object) -> None:
        used.append(None)

    used: list[None] = []
    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    guard = make_guard(graph, clock, store=redis_server.url, deadline=10)
    try:
        assert said(guard) == "ok"
        eventually(lambda: is_heard(guard))
        guard.expire_session(TOKEN)
    finally:
        guard.close()
    assert used == []


# -- servers that take a connection and say nothing -----------------------------------------------------


@pytest.fixture
def mute() -> Iterator[str]:
    with socket.create_server((HOST, 0), backlog=100) as listener:
        yield f"{HOST}:{listener.getsockname()[1]}"


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have redis-py ask the nodes in the order of the URL."""
    monkeypatch.setattr(random, "shuffle", lambda _: None)


def is_found(url: str, graph: FakeGraph, clock: FakeClock) -> bool:
    guard = make_guard(graph, clock, store=url, deadline=10)
    try:
        said(guard)
        eventually(lambda: is_heard(guard))
    finally:
        guard.close()
    return True


@pytest.mark.slow
@pytest.mark.usefixtures("in_order")
def test_a_node_of_a_cluster_that_says_nothing_hides_no_other(redis_cluster, graph, clock, mute):
    assert is_found(redis_cluster.url.replace("//", f"//{mute},"), graph, clock)


@pytest.mark.slow
def test_a_sentinel_that_says_nothing_hides_no_other(watched_redis, graph, clock, mute):
    assert is_found(watched_redis.url.replace("//", f"//{mute},"), graph, clock)


@pytest.mark.slow
def test_slots_of_a_node_that_hangs_are_found_at_another(graph, clock):
    """As after a failover: the others say who has them now."""
    with RedisCluster() as cluster:
        guard = make_guard(graph, clock, store=cluster.url, deadline=10)
        try:
            said(guard)
            eventually(lambda: is_heard(guard))
            [count] = [key for server in cluster.servers for key in server.ask("KEYS", "*:count")]
            hangs = cluster.server_of(count.decode())
            hangs.pause()
            cluster.give_slot(count.decode(), next(one for one in cluster.servers if one is not hangs))

            def is_back() -> bool:
                clock.advance(access.REST)
                said(guard, "EAAother")
                return is_heard(guard)

            eventually(lambda: not is_heard(guard))
            eventually(is_back)
            hangs.resume()
        finally:
            guard.close()


# -- a failover ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("is_replicated", [True, False])
def test_a_failover(watched_redis: WatchedRedis, graph: FakeGraph, clock: FakeClock, is_replicated: bool):
    """What ended before ends nobody's trust afterwards, if it was replicated, or a worker remembers it."""

    one, other = guards = [make_guard(graph, clock, store=watched_redis.url, deadline=10) for _ in range(2)]
    try:
        assert [said(guard, token) for guard in guards for token in (TOKEN, "EAAother")] == ["ok"] * 4
        eventually(lambda: all(map(is_heard, guards)))
        one.expire_session(TOKEN)
        eventually(lambda: other.peek(TOKEN) is None)
        replicate(watched_redis.master, *([] if is_replicated else ["*:stone:*"]))
        watched_redis.fail_over()
        assert {said(guard) for guard in guards for _ in range(10)} == {"session_invalidated"}

        def is_back() -> bool:
            return all(map(is_heard, guards)) and bool(watched_redis.replica.ask("KEYS", "*:stone:*"))

        eventually(is_back)
        third = make_guard(graph, clock, store=watched_redis.url, deadline=10)
        guards.append(third)
        said(third)
        eventually(lambda: is_heard(third))  # a sentinel cuts links once more, and then it has to look again
        calls = len(graph.calls)
        assert [said(guard) for guard in guards] == ["session_invalidated"] * 3
        assert [said(guard, "EAAother") for guard in guards] == ["ok"] * 3
        assert len(graph.calls) <= calls + 1
        third.expire_session("EAAother")
        eventually(lambda: said(one, "EAAother") == "session_invalidated")
    finally:
        for guard in guards:
            guard.close()


def replicate(master: RedisServer, *lost: str) -> None:
    """Have the replica know all that the master does, without the keys of these patterns."""
    client = master.client()
    keys = [key for pattern in lost for key in client.keys(pattern)]
    client.delete("nobody's", *keys)
    client.set("nobody's", "1", px=1)  # WAIT is for what this very client wrote
    assert client.wait(1, 5000) == 1
