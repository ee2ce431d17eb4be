"""Rows K08 and K11, M12, and C09 to C12 and J07 over a real Redis."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fbguard import Refused
from fbguard.core.cache import key_of
from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.stores.redis import RedisStore
from tests.facebook.raw_server import Server
from tests.redis_relay import Relay
from tests.redis_servers import HOST, RedisCluster, RedisServer
from tests.revocation.calls import FORM, form, send
from tests.revocation.calls import HOST as HOST_HEADER
from tests.support import APP_ID, NOW, PATIENCE, TOKEN, FakeClock, FakeGraph, dead, http_scope, valid
from tests.threats.workers import COLOURS, USER, Fleet, Vault, Worker, eventually

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

ROOT = Path(__file__).parents[2]
ENDED = "session_invalidated"
ISSUED = {"issued": {"issued_at": NOW - 100}, "unknown": {}}


# -- K08 -----------------------------------------------------------------------------------------------


CANCELLATIONS = 250  # on each of two loops


def in_two_loops(work: Callable[[random.Random], object]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, random.Random(seed)) for seed in range(2)]:
            done.result(PATIENCE * 3)


@pytest.mark.usefixtures("calm")
def test_K08_a_cancelled_command_shifts_no_answer(redis_server: RedisServer):
    names = [f"name{number}" for number in range(50)]
    store = RedisStore(redis_server.url)

    def work(dice: random.Random) -> None:
        space = store.space("app")

        async def find(name: str) -> None:
            assert (await space.find(name)).fact == name.encode()
            assert await space.stone_of_user(name) == f"stone of {name}".encode()

        async def main() -> None:
            cancelled = 0
            for name in names:
                await space.bury_user(name, f"stone of {name}".encode(), at=1, ttl=100, news=b"")
                mark = (await space.find(name)).mark
                await space.keep(name, name.encode(), user=None, ttl=100, mark=mark)
            while cancelled < CANCELLATIONS:
                tasks = [asyncio.create_task(find(name)) for name in dice.choices(names, k=40)]
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(dice.choice([0, 0, 0.001]))
                for task in tasks[:20]:
                    task.cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    cancelled += isinstance(outcome, asyncio.CancelledError)
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
            await space.aclose()

        asyncio.run(main())

    in_two_loops(work)


def test_K08_a_cancelled_request_shifts_no_answer(fleet: Fleet, redis_server: RedisServer, graph: FakeGraph):
    """Half of them are given up, and with a store that is slower than it may be, all others by the guard."""
    tokens = [f"EAAtoken{number}" for number in range(50)]
    for number, token in enumerate(tokens):
        graph.replies[token] = valid(user_id=f"30{number}")
    one = fleet.worker(redis_server.url).heard()
    assert set(one.all_said(tokens)) == {"ok"}
    graph.default = dead(190, 460)
    graph.replies.clear()
    with Relay(redis_server.port) as relay:
        other = fleet.worker(relay.url, ttl=300).heard()

        def work(dice: random.Random) -> None:
            async def ask(token: str) -> None:
                # Of this person, or refused: Graph was asked, or the other loop had it forgotten twice.
                user = f"30{token.removeprefix('EAAtoken')}"
                assert await who(other, token) in {user, "password_changed", "unavailable"}

            async def main() -> None:
                for step in range(CANCELLATIONS // 20):
                    relay.delay = 0.06 if step % 4 == 3 else 0.0
                    for token in tokens:
                        other.guard._cache.forget(key(token))
                    tasks = [asyncio.create_task(ask(token)) for token in dice.choices(tokens, k=40)]
                    await asyncio.sleep(dice.choice([0, 0.001, 0.003]))
                    for task in tasks[:20]:
                        task.cancel()
                    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
                    fleet.clock.advance(0.1)
                await other.guard.aclose_here()

            asyncio.run(main())

        in_two_loops(work)
        other.close()


async def who(worker: Worker, token: str) -> str | None:
    try:
        return (await worker.guard.acheck(token)).user_id
    except Refused as refused:
        return refused.reason


def key(token: str) -> bytes:
    return key_of(Secret(token))


# -- K11 -----------------------------------------------------------------------------------------------


@contextmanager
def acl(server: RedisServer, *rules: str) -> Iterator[str]:
    server.ask("ACL", "SETUSER", "worker", "on", ">sesame", "~*", "&*", "+@all", *rules)
    yield f"redis://worker:sesame@{HOST}:{server.port}"


@contextmanager
def says(server: RedisServer, answer: bytes) -> Iterator[str]:
    with Relay(server.port) as relay:
        relay.answer = answer
        yield relay.url


@contextmanager
def read_only(server: RedisServer) -> Iterator[str]:
    """Have a replica that has lost its master, with what it had."""
    server.ask("REPLICAOF", HOST, 1)
    yield server.url
    server.ask("REPLICAOF", "NO", "ONE")


@contextmanager
def without_master(server: RedisServer) -> Iterator[str]:
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    with read_only(server) as url:
        yield url


@contextmanager
def full(server: RedisServer) -> Iterator[str]:
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    yield server.url
    server.ask("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def with_password(server: RedisServer, given: str) -> Iterator[str]:
    client = server.client()  # stays logged in
    client.config_set("requirepass", "sesame")
    yield f"redis://{given}{HOST}:{server.port}"
    client.config_set("requirepass", "")


TROUBLES: dict[str, Callable[[RedisServer], object]] = {
    "LOADING": lambda server: says(server, b"-LOADING Redis is loading the dataset in memory\r\n"),
    "an error that nobody knows": lambda server: says(server, b"-WHATEVER\r\n"),
    "no Redis at all": lambda server: says(server, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "an answer of another kind": lambda server: says(server, b"+OK\r\n"),
    "a number": lambda server: says(server, b":7\r\n"),
    "a list": lambda server: says(server, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    "a list of five": lambda server: says(server, b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n"),
    "a list with numbers": lambda server: says(server, b"*5\r\n:1\r\n:2\r\n:3\r\n$1\r\n4\r\n:-1\r\n"),
    "nothing": lambda server: says(server, b"$-1\r\n"),
    "READONLY": read_only,
    "MASTERDOWN": without_master,
    "OOM": full,
    "NOPERM eval": lambda server: acl(server, "-eval", "-evalsha"),
    "NOPERM set": lambda server: acl(server, "-set"),
    "NOPERM publish": lambda server: acl(server, "-publish"),
    "NOPERM subscribe": lambda server: acl(server, "-subscribe"),
    "NOPERM keys": lambda server: acl(server, "resetkeys", "~others:*"),
    "NOPERM channels": lambda server: acl(server, "resetchannels"),
    "NOPERM anything": lambda server: acl(server, "-@all"),
    "NOAUTH": lambda server: with_password(server, ""),
    "WRONGPASS": lambda server: with_password(server, "worker:guessed@"),
    "no such database": lambda server: acl_free(server, "/9999"),
}


@contextmanager
def acl_free(server: RedisServer, more: str) -> Iterator[str]:
    yield f"{server.url}{more}"


def is_harmless(worker: Worker, graph: FakeGraph) -> int:
    """Check that Graph decides, and that nothing is raised but StoreUnavailable by who ends sessions.

    Return how many ends of sessions were acknowledged.
    """
    graph.replies["EAAdead"] = dead(190, 463)
    for _ in range(2):
        assert worker.said() == "ok"
        assert worker.said("EAAdead") == "expired"
        assert set(worker.all_said([f"EAAtoken{number}" for number in range(5)])) == {"ok"}
    tried = [worker.try_to(lambda: worker.end(TOKEN)), worker.try_to(lambda: worker.end("EAAunknown"))]
    worker.try_to(lambda: worker.end_user(NOW, "77"))
    worker.try_to(lambda: worker.forget_user(USER))
    assert (worker.said(), worker.said("EAAunknown"), worker.said("EAAtoken0")) == (ENDED, ENDED, "ok")
    return sum(tried)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("trouble", TROUBLES)
def test_K11_errors_of_the_server(fleet: Fleet, own_redis: RedisServer, graph: FakeGraph, trouble: str):
    fleet.worker(own_redis.url).heard().all_said([TOKEN, "EAAtoken1"])
    with TROUBLES[trouble](own_redis) as url:  # type: ignore[attr-defined]
        worker = fleet.worker(url)
        acknowledged = is_harmless(worker, graph)
        if trouble not in {"NOPERM channels", "NOPERM subscribe", "NOPERM publish"}:
            assert worker.failed >= 1
        if trouble == "OOM":
            worker.heard()  # a full one serves who only reads
        elif trouble not in {"READONLY", "NOPERM set"}:  # which do, too, so may be well at times
            assert worker.status != "ok"
        worker.close()
    assert acknowledged <= len(own_redis.ask("KEYS", "*:stone:*"))


@pytest.mark.usefixtures("calm")
def test_K11_a_node_of_a_cluster_that_has_other_keys(
    fleet: Fleet, redis_cluster: RedisCluster, graph: FakeGraph
):
    count = f"{{fbguard:1:{APP_ID}:graph.facebook.com}}:count"
    other = next(server for server in redis_cluster.servers if server is not redis_cluster.server_of(count))
    worker = fleet.worker(other.url)
    is_harmless(worker, graph)
    assert (worker.failed >= 3, worker.status) == (True, "away")


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("trouble", [full, read_only])
def test_K11_what_could_not_be_written_is_written_when_it_can_be(
    fleet: Fleet, own_redis: RedisServer, trouble: Callable[[RedisServer], Iterator[str]]
):
    """The link for news may never have been lost."""
    one, other = fleet.workers(own_redis.url)
    assert {*one.all_said([TOKEN, "EAAother"]), *other.all_said([TOKEN, "EAAother"])} == {"ok"}
    with trouble(own_redis):
        with pytest.raises(StoreUnavailable):
            one.end()
        assert (one.said(), other.said()) == (ENDED, "ok")
    eventually(lambda: other.said() == ENDED)
    assert other.said("EAAother") == "ok"
    assert fleet.worker(own_redis.url).said() == ENDED


# -- M12 -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
def test_M12_what_is_acknowledged_is_in_the_store(fleet: Fleet, redis_server: RedisServer, graph: FakeGraph):
    vault = Vault(redis_server.client())
    one = fleet.worker(redis_server.url)
    assert one.said() == "ok"
    one.end()
    assert len(vault.held("stone")) == 1
    assert vault.held("fact") == []
    one.end("EAAnever seen".replace(" ", ""))
    assert len(vault.held("stone")) == 2
    one.end_user(NOW, USER)
    assert [vault.client.hget(key, "at") for key in vault.held("user")] == [b"1800000000.0"]


DIES = """
import asyncio, sys
from tests.support import FakeClock, make_guard
url, colour, token = sys.argv[1:]
guard = make_guard(clock=FakeClock(), store=url)
if colour == "sync":
    guard.check(token)
    guard.expire_session(token)
    print("done", flush=True)
    sys.stdin.read()
else:
    async def main():
        await guard.acheck(token)
        await guard.aexpire_session(token)
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    asyncio.run(main())
"""


@pytest.mark.slow
def test_M12_it_stays_when_its_process_is_killed(fleet: Fleet, redis_server: RedisServer, graph: FakeGraph):
    colour = "sync" if fleet.runner is None else "async"
    with subprocess.Popen(
        [sys.executable, "-c", DIES, redis_server.url, colour, TOKEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        process.send_signal(signal.SIGKILL)
    assert fleet.worker(redis_server.url).said() == ENDED
    assert graph.calls == []


# -- C09 -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("issued", ISSUED)
@pytest.mark.parametrize("how", ["end", "end_user"])
def test_C09_revoke_at_another_worker_during_fill(
    fleet: Fleet, redis_server: RedisServer, graph: FakeGraph, clock: FakeClock, how: str, issued: str
):
    one, other = fleet.workers(redis_server.url)
    for number in range(10):
        token, calls, user = f"EAAround{number}", len(graph.calls), f"20{number}"
        graph.gate.shut()
        graph.default = valid(user_id=user, **ISSUED[issued])
        if how == "end_user" and issued == "unknown":
            # Who it is must be known somewhere: this worker has seen the token before.
            graph.gate.open()
            assert other.said(token) == "ok"
            other.guard.forget_user(user)
            eventually(lambda token=token: one.guard.peek(token) is None)
            graph.gate.shut()
            calls = len(graph.calls)
            clock.advance(1)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(one.all_said, [token] * 8)
            graph.wait_for_calls(calls + 1)
            clock.advance(1)
            if how == "end":
                other.guard.expire_session(token)
            else:
                asyncio.run(other.guard._revoker.end_user(user, clock.wall))
            graph.gate.open()
            expected = ENDED if how == "end" else "not_authorized"
            assert set(asked.result(PATIENCE)) == {expected}
        assert {worker.said(token) for worker in (one, other)} == {expected}


# -- C10 -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("issued", ISSUED)
def test_C10_revoke_by_user_misses_no_token_of_any_worker(
    fleet: Fleet, redis_server: RedisServer, graph: FakeGraph, clock: FakeClock, issued: str
):
    workers = fleet.workers(redis_server.url, 3)
    tokens = [f"EAAmine{number}" for number in range(90)]
    graph.default = valid(**ISSUED[issued])
    graph.replies["EAAyours"] = valid(user_id="2002", **ISSUED[issued])
    for number, worker in enumerate(workers):
        assert set(worker.all_said([*tokens[number::3], "EAAyours"])) == {"ok"}
    clock.advance(1)
    workers[0].end_user(clock.wall)
    eventually(lambda: not any(worker.guard.peek(token) for worker in workers for token in tokens))
    for worker in (*workers, fleet.worker(redis_server.url)):
        assert set(worker.all_said(tokens)) == {"not_authorized"}
        assert worker.said("EAAyours") == "ok"


# -- C11, C12 ------------------------------------------------------------------------------------------------


def deauthorize(worker: Worker, **changes: object) -> int:
    scope = http_scope("/deauthorize", "POST", [FORM, HOST_HEADER])
    asked = [{"type": "http.request", "body": form(**changes)}]
    return asyncio.run(send(worker.guard.callbacks_asgi(), scope, asked)).status


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("issued", ISSUED)
def test_C11_graph_lags_behind_a_deauthorize_at_another_worker(
    fleet: Fleet, redis_server: RedisServer, graph: FakeGraph, clock: FakeClock, issued: str
):
    graph.default = valid(**ISSUED[issued])
    one, other = fleet.workers(redis_server.url)
    assert other.said() == "ok"
    clock.advance(2)
    assert deauthorize(one, issued_at=int(clock.wall)) == 200
    eventually(lambda: other.guard.peek(TOKEN) is None)
    for _ in range(3):
        for worker in (one, other, fleet.worker(redis_server.url)):
            assert worker.said() == "not_authorized"
        clock.advance(1)


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("issued", ISSUED)
def test_C12_no_ban_for_ever_at_any_worker(
    fleet: Fleet, redis_server: RedisServer, graph: FakeGraph, clock: FakeClock, issued: str
):
    graph.default = valid(**ISSUED[issued])
    one, other = fleet.workers(redis_server.url)
    assert one.said() == "ok"
    clock.advance(2)
    event = int(clock.wall)
    assert deauthorize(one, issued_at=event) == 200
    clock.advance(1)
    graph.replies["EAAagain"] = valid(**({"issued_at": int(clock.wall)} if issued == "issued" else {}))
    assert other.said("EAAagain") == "ok"
    clock.advance(1)
    assert deauthorize(other, issued_at=event) == 200  # Facebook, or somebody, sends it again, elsewhere
    for worker in (one, other, fleet.worker(redis_server.url)):
        assert worker.said("EAAagain") == "ok"
        assert worker.said() == "not_authorized"


# -- J07 -----------------------------------------------------------------------------------------------

FORK = """
import asyncio, atexit, gc, os, sys, time
from tests.support import hears, make_guard, wait_until

graph_url, url, colour = sys.argv[1:]
guard = make_guard(transport=None, graph_url=graph_url, deadline=20, store=url)

def ask(token):
    try:
        info = guard.check(token) if colour == "sync" else runner.run(guard.acheck(token))
    except Exception as refused:
        return refused.reason
    return info.user_id

runner = asyncio.Runner()
assert [ask("before"), ask("ended")] == ["1001"] * 2
hears(guard)
children, pipes = [], [os.pipe() for _ in range(2)]
for number, (reader, writer) in enumerate(pipes):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            runner = asyncio.Runner()  # a worker has a loop of its own
            assert ask("before") == "1001"
            hears(guard)  # a link of its own
            os.write(writer, b"1")
            wait_until(lambda: guard.peek("ended") is None)  # the parent ends it meanwhile
            assert ask("ended") == "session_invalidated"
            assert ask(f"child{number}") == "1001"
            guard.expire_session(f"child{number}")
            gc.collect()  # what was the parent's is let go without touching its connections
            if colour == "async":
                runner.run(guard.aclose_here())
            guard.close()
            atexit._run_exitfuncs()
            status = 0
        finally:
            os._exit(status)
    children.append(pid)
for reader, _ in pipes:
    os.read(reader, 1)
assert guard.health().store.status == "ok"
guard.expire_session("ended") if colour == "sync" else runner.run(guard.aexpire_session("ended"))
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
assert [ask("child0"), ask("child1"), ask("before")] == ["session_invalidated"] * 2 + ["1001"]
assert guard.health().store == (type(guard.health().store))("ok", 0, 0, listeners=3)
runner.run(guard.aclose_here())
guard.close()
runner.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("colour", COLOURS)
def test_J07_fork_after_use(redis_server: RedisServer, colour: str):
    """Each child has connections of its own to the store, and hears its news; so has the parent still."""
    with Server() as server:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore:This process:DeprecationWarning", "-W", "error", "-c", FORK),
                *(server.url, redis_server.url, colour),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 6,
            check=False,
            cwd=ROOT,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("[0, 0]\n", "", 0)
        asked = sorted(target.partition("input_token=")[2] for target, _ in server.heads())
        assert asked == ["before", "child0", "child1", "ended"]
