"""Rows K03, K09, K10 and K13: lost news, lost data, answers that come late, news of nobody."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fbguard.stores.memory import MemoryStore
from tests.redis_relay import Relay, Which
from tests.redis_servers import RedisServer
from tests.support import APP_ID, NOW, PATIENCE, TOKEN, FakeClock, FakeGraph, make_guard, valid
from tests.threats.workers import USER, Fleet, Vault, Worker, eventually

pytestmark = pytest.mark.usefixtures("quiet_asyncio", "calm")

TOKENS = [f"EAAtoken{number}" for number in range(20)]
ENDED = "session_invalidated"
NOTICED = 2.0 + 1.0  # seconds; one of them is for a busy machine


@pytest.fixture
def relay(redis_server: RedisServer) -> Iterator[Relay]:
    with Relay(redis_server.port) as relay:
        yield relay


@pytest.fixture
def vault(redis_server: RedisServer) -> Vault:
    return Vault(redis_server.client())


# -- K03 -----------------------------------------------------------------------------------------------


def test_K03_nothing_is_accepted_that_ended_while_nobody_listened(
    fleet: Fleet, redis_server: RedisServer, relay: Relay, graph: FakeGraph
):
    one, other = fleet.worker(redis_server.url).heard(), fleet.worker(relay.url).heard()
    assert {*one.all_said(TOKENS), *other.all_said(TOKENS)} == {"ok"}
    ended = [other.watch(token) for token in ("EAAopen", "EAAstays")]
    relay.cut("listeners")
    eventually(lambda: other.status == "unheard")
    for token in TOKENS[::2]:
        one.end(token)
        assert other.said(token) == ENDED  # memory is distrusted, so it hears of it at once
    expected = [ENDED, "ok"] * (len(TOKENS) // 2)
    assert other.all_said(TOKENS) == expected
    one.end("EAAopen")
    assert ended == [[], []]
    relay.mend()
    eventually(lambda: ended[0])
    assert (ended, other.heard().status) == ([[ENDED], []], "ok")
    assert other.all_said(TOKENS) == expected
    assert len(set(graph.calls)) == len(graph.calls)  # the store knew it all


def test_K03_what_ended_in_a_gap_that_is_over_is_not_accepted(
    fleet: Fleet, redis_server: RedisServer, relay: Relay
):
    """Nobody asked while the link was lost: what memory holds is older than the gap."""
    one, other = fleet.worker(redis_server.url).heard(), fleet.worker(relay.url).heard()
    assert {*other.all_said(TOKENS)} == {"ok"}
    relay.cut("listeners")
    eventually(lambda: other.status == "unheard")
    for token in TOKENS[:10]:
        one.end(token)
    one.end_user(NOW, "77")
    relay.mend()
    other.heard()
    assert other.all_said(TOKENS) == [ENDED] * 10 + ["ok"] * 10


@pytest.mark.parametrize("which", ["listeners", "all"])
def test_K03_a_link_that_is_dead_without_a_word_is_noticed(
    fleet: Fleet, redis_server: RedisServer, relay: Relay, which: Which
):
    one, other = fleet.worker(redis_server.url).heard(), fleet.worker(relay.url).heard()
    assert [one.said(), other.said()] == ["ok", "ok"]
    ended = other.watch()
    relay.swallow(which)
    start = time.perf_counter()
    one.end()
    eventually(lambda: other.status != "ok")
    assert time.perf_counter() - start < NOTICED
    if which == "listeners":
        assert [other.said() for _ in range(20)] == [ENDED] * 20
    relay.mend()
    eventually(lambda: ended)
    assert [other.said() for _ in range(20)] == [ENDED] * 20


def test_K03_a_subscription_that_nobody_confirms_is_none(
    fleet: Fleet, redis_server: RedisServer, relay: Relay
):
    """Until the news are sure to come, each token is asked for at the store."""
    relay.swallow("listeners")
    one, other = fleet.worker(redis_server.url).heard(), fleet.worker(relay.url)
    assert [one.said(), other.said()] == ["ok", "ok"]
    start = time.perf_counter()
    while time.perf_counter() - start < 1.2:  # two beats go by
        assert other.status == "unheard"
        time.sleep(0.05)
    one.end()
    assert other.said() == ENDED


# -- K09 -----------------------------------------------------------------------------------------------


def flush(server: RedisServer) -> None:
    server.ask("FLUSHALL")


def die(server: RedisServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("lose", [flush, die])
def test_K09_a_store_that_lost_everything_gets_the_tombstones_back(
    fleet: Fleet, own_redis: RedisServer, graph: FakeGraph, clock: FakeClock, lose: Callable[..., None]
):
    graph.default = valid(issued_at=NOW - 10)
    graph.replies["EAAleft"] = valid(issued_at=NOW - 10, user_id="2002")
    one, other = fleet.workers(own_redis.url)
    assert [one.said(), one.said("EAAleft"), other.said()] == ["ok"] * 3
    one.end()
    one.end_user(NOW, "2002")
    eventually(lambda: other.guard.peek(TOKEN) is None)
    clock.advance(100)  # what was told of late is told again anyway
    lose(own_redis)
    assert [one.said(), other.said(), one.said("EAAleft")] == [ENDED, ENDED, "not_authorized"]
    vault = Vault(own_redis.client())
    eventually(lambda: vault.held("stone") and vault.held("user"))
    one.asked().heard()
    late = fleet.worker(own_redis.url)
    assert [late.said(), late.said("EAAleft")] == [ENDED, "not_authorized"]


def test_K09_a_replica_that_lacked_the_last_writes(fleet: Fleet, own_redis: RedisServer, graph: FakeGraph):
    """It has the fact and not the tombstone, and takes over: all links are lost with the old one."""
    graph.default = valid(issued_at=NOW - 10)
    graph.replies["EAAleft"] = valid(issued_at=NOW - 10, user_id="2002")
    one, other = fleet.workers(own_redis.url)
    assert [one.said(), one.said("EAAleft"), other.said()] == ["ok"] * 3
    client = own_redis.client()
    replicated = [(key, client.pttl(key), client.dump(key)) for key in client.scan_iter()]
    one.end()
    one.end_user(NOW, "2002")
    eventually(lambda: other.guard.peek(TOKEN) is None)
    with client.pipeline() as pipeline:  # in one step: nobody is to see the data gone
        pipeline.flushall()
        for key, ttl, value in replicated:
            pipeline.restore(key, max(ttl, 1), value)
        pipeline.execute()
    for kind in ("pubsub", "normal"):
        own_redis.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    eventually(lambda: Vault(client).held("stone") and Vault(client).held("user"))
    one.asked().heard()
    other.asked().heard()
    late = fleet.worker(own_redis.url)
    for worker in (one, other, late):
        assert [worker.said(), worker.said("EAAleft")] == [ENDED, "not_authorized"]


def test_K09_what_only_the_lost_store_knew_is_stale_for_a_bounded_time(
    fleet: Fleet, own_redis: RedisServer, graph: FakeGraph, clock: FakeClock
):
    """No fact of before is taken for news: Graph is asked again, after ttl at the latest."""
    one, other = fleet.workers(own_redis.url)
    assert [one.said(), other.said()] == ["ok", "ok"]
    die(own_redis)
    one.asked().heard()
    other.asked().heard()
    graph.default = valid(is_valid=False, error={"code": 190, "subcode": 463, "message": ""})
    clock.advance(300)
    assert [one.said(), other.said()] == ["expired"] * 2


# -- K10 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "end_user", "forget_user"])
def test_K10_an_answer_from_before_is_kept_by_nobody(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, how: str
):
    graph.default = valid(issued_at=NOW - 10)
    one, other = fleet.workers(redis_server.url)
    vault.client.flushall()
    graph.gate.shut()
    calls = len(graph.calls)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(one.said)  # the fleet's loop, if it has one, is his alone
        graph.wait_for_calls(calls + 1)
        guard = other.guard
        match how:
            case "end":
                guard.expire_session(TOKEN)
            case "end_user":
                asyncio.run(guard._revoker.end_user(USER, NOW))
            case _:
                guard.forget_user(USER)
        graph.gate.open()
        said = asked.result(PATIENCE)
    expected = {"end": ENDED, "end_user": "not_authorized", "forget_user": "ok"}[how]
    assert said == expected
    assert one.said() == other.said() == expected
    assert fleet.worker(redis_server.url).said() == expected
    if how == "end":
        assert vault.held("fact") == []


def test_K10_with_nobody_listening(
    fleet: Fleet, redis_server: RedisServer, relay: Relay, vault: Vault, graph: FakeGraph
):
    """The worker with the late answer hears of nothing: the store alone refuses it."""
    one, other = fleet.worker(relay.url).heard(), fleet.worker(redis_server.url).heard()
    relay.cut("listeners")
    eventually(lambda: one.status == "unheard")
    for token in TOKENS[:5]:
        graph.gate.shut()
        calls = len(graph.calls)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(one.said, token)
            graph.wait_for_calls(calls + 1)
            other.guard.expire_session(token)
            graph.gate.open()
            assert asked.result(PATIENCE) == ENDED
        assert not [key for key in vault.held("fact") if vault.client.exists(key.replace(b"fact", b"stone"))]


# -- K13 -----------------------------------------------------------------------------------------------


class Runs:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (pytest.fail, ("code of a stranger was run",))


def signed(secret: str, said: dict[str, object]) -> bytes:
    text = json.dumps(said)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest().encode() + text.encode()


REVOKE_ALL: dict[str, object] = {"what": "forget_user", "name": USER, "stone": None}
HOSTILE = {
    "nothing": b"",
    "junk": bytes(range(256)) * 100,
    "long": b"x" * 5_000_000,
    "pickle": pickle.dumps(Runs(), 4),
    "unsigned": json.dumps(REVOKE_ALL).encode(),
    "zeros for a MAC": b"0" * 64 + json.dumps(REVOKE_ALL).encode(),
    "another MAC": signed("another secret", REVOKE_ALL),
    "not UTF-8": b"\xff" * 64 + b"{}",
    "deep": b"0" * 64 + b"[" * 100_000,
}


def channel_of(vault: Vault, app_id: str = APP_ID) -> str:
    channels = [one.decode() for one in vault.client.pubsub_channels() if f":{app_id}:".encode() in one]
    return min(channels, key=len)  # behind it stand the beats


def tell(worker: Worker) -> None:
    """Say something genuine and wait until it is heard: what was said before is heard, too."""
    mark = worker.guard._cache.mark()
    worker.guard.forget_user("nobody")
    eventually(lambda: worker.guard._cache.mark() >= mark + 2)  # once here, once by the news


def test_K13_news_of_nobody(fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph):
    one, other = fleet.workers(redis_server.url)
    assert {*one.all_said(TOKENS), *other.all_said(TOKENS)} == {"ok"}
    calls, ended = len(graph.calls), other.watch(TOKENS[0])
    for said in HOSTILE.values():
        assert vault.client.publish(channel_of(vault), said) == 2
    for worker in (one, other):
        tell(worker)
        assert worker.unreadable == len(HOSTILE)
        assert worker.status == "ok"
        assert worker.all_said(TOKENS) == ["ok"] * len(TOKENS)
    assert (len(graph.calls), ended) == (calls, [])
    one.end(TOKENS[0])
    eventually(lambda: ended)
    assert other.said(TOKENS[0]) == ENDED


FLOOD = "for i = 1, ARGV[2] do redis.call('PUBLISH', ARGV[1], string.format('%064d{}', i)) end"


@pytest.mark.slow
def test_K13_a_flood(fleet: Fleet, redis_server: RedisServer, vault: Vault):
    one, other = fleet.workers(redis_server.url)
    assert one.said() == other.said() == "ok"
    channel, waits, over = channel_of(vault), [], threading.Event()

    def flood() -> None:
        for _ in range(50):
            vault.client.eval(FLOOD, 0, channel, 2_000)
        over.set()

    async def ask() -> None:
        while not over.is_set():
            start = time.perf_counter()
            assert await other.asaid(f"EAAflood{len(waits)}") == "ok"
            waits.append(time.perf_counter() - start)

    flooding = threading.Thread(target=flood)
    flooding.start()
    if fleet.runner is not None:
        fleet.runner.run(ask())
    while not over.is_set():
        start = time.perf_counter()
        assert other.said(f"EAAflood{len(waits)}") == "ok"
        waits.append(time.perf_counter() - start)
    flooding.join(PATIENCE)
    assert waits
    assert max(waits) < PATIENCE / 4
    for worker in (one, other):
        worker.asked().heard()
        assert 0 < worker.unreadable < 100_000  # it stopped listening for a while
    one.end()
    eventually(lambda: other.said() == ENDED)


def test_K13_others_have_their_turn_between_two_news(graph: FakeGraph, clock: FakeClock):
    """All of them may be there already, so that nobody has to be waited for."""
    turns: list[int] = []

    class Flood(MemoryStore):
        async def news(self) -> AsyncIterator[bytes]:
            yield b""

            def turn() -> None:
                turns.append(guard.health().store.unreadable)
                if len(turns) < 100:
                    asyncio.get_running_loop().call_soon(turn)

            asyncio.get_running_loop().call_soon(turn)
            for _ in range(1_000):
                yield b"junk"
            await asyncio.Event().wait()

    with make_guard(graph, clock, store=Flood(time=clock.time)) as guard:
        guard.check(TOKEN)
        eventually(lambda: len(turns) == 100)
        assert turns[-1] < 200


def test_K13_genuine_news_again(
    fleet: Fleet, redis_server: RedisServer, vault: Vault, graph: FakeGraph, clock: FakeClock
):
    """Who says once more what was said ends nothing that began since, and nothing of another app."""
    graph.default = valid(issued_at=NOW - 10)
    one, other = fleet.workers(redis_server.url)
    foreign = fleet.worker(redis_server.url, app_id="42", graph=FakeGraph()).heard()
    foreign_channel = channel_of(vault, "42")
    with vault.client.pubsub() as listener:
        listener.subscribe(channel_of(vault))
        assert listener.get_message(timeout=PATIENCE)["type"] == "subscribe"
        assert one.all_said([TOKEN, "EAAofUser"]) == ["ok"] * 2
        one.end()
        clock.advance(1)
        one.end_user(NOW + 1)
        one.forget_user()
        recorded = [listener.get_message(timeout=PATIENCE)["data"] for _ in range(3)]
    clock.advance(10)
    graph.default = valid(issued_at=NOW + 5)
    assert other.said("EAAlater") == "ok"
    for _ in range(50):
        for said in recorded:
            vault.client.publish(channel_of(vault), said)
            vault.client.publish(foreign_channel, said)
    for worker in (one, other, foreign):
        tell(worker)
    assert [other.said(token) for token in (TOKEN, "EAAofUser", "EAAlater")] == [
        ENDED,
        "not_authorized",
        "ok",
    ]
    assert (one.unreadable, other.unreadable, foreign.unreadable) == (0, 0, 150)
