"""The servers of the tests do what they are told to, whichever program is there."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import redis

from tests import redis_servers
from tests.redis_servers import HOST, MISSING, RedisCluster, RedisServer, WatchedRedis
from tests.support import wait_until

FAILED = pytest.fail.Exception
SKIPPED = pytest.skip.Exception


def test_a_server_keeps_nothing(own_redis):
    own_redis.ask("SET", "a", "1")
    pid, url = own_redis.pid, own_redis.url
    own_redis.kill()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, own_redis.port), 1):
        pass
    own_redis.start()
    assert own_redis.ask("GET", "a") is None
    assert own_redis.url == url
    assert own_redis.pid != pid


def test_one_that_persists_keeps_what_it_took():
    with RedisServer(appendonly=True) as server:
        server.ask("SET", "a", "1")
        server.kill()
        server.start()
        assert server.ask("GET", "a") == b"1"
        server.restart()
        assert server.ask("GET", "a") == b"1"


def test_a_paused_one_says_nothing(own_redis):
    own_redis.pause()
    with pytest.raises(redis.TimeoutError):
        own_redis.client(socket_timeout=0.05).ping()
    own_redis.resume()
    assert own_redis.ask("PING") == b"PONG"
    own_redis.pause()  # and can be ended


def test_listeners_are_cut_and_nobody_else(own_redis):
    client = own_redis.client()
    number = client.client_id()
    with redis.Redis(HOST, own_redis.port) as other, other.pubsub() as listener:
        listener.subscribe("news")
        wait_until(lambda: own_redis.ask("PUBSUB", "NUMSUB", "news")[1])
        assert own_redis.cut_listeners() == 1
        assert own_redis.cut_listeners() == 0
    assert client.client_id() == number


def test_a_password():
    with RedisServer(password="sesame") as server:
        assert server.url == f"redis://:sesame@{HOST}:{server.port}"
        assert server.client().ping()
        with pytest.raises(redis.AuthenticationError):
            server.client(password=None).ping()


def test_a_port_that_is_taken_meanwhile(monkeypatch):
    ports, free_port = [], redis_servers._free_port
    with socket.create_server((HOST, 0)) as taken:
        ports = [taken.getsockname()[1]] * 2
        monkeypatch.setattr(redis_servers, "_free_port", lambda: ports.pop() if ports else free_port())
        with RedisServer() as server:
            assert server.ask("PING") == b"PONG"
            assert server.port != taken.getsockname()[1]
    assert ports == []


def test_a_server_of_somebody_else_is_not_taken_for_ours(redis_server, monkeypatch):
    ports, free_port = [redis_server.port], redis_servers._free_port
    monkeypatch.setattr(redis_servers, "_free_port", lambda: ports.pop() if ports else free_port())
    with RedisServer() as server:
        assert server.port != redis_server.port
        assert int(server.info()["process_id"]) == server.pid


def test_nothing_is_left_of_it():
    with RedisServer() as server:
        folder, pid = Path(server._folder.name), server.pid
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("number", range(2))
def test_the_shared_one_is_empty_for_every_test(redis_server, number):
    assert redis_server.ask("DBSIZE") == 0
    redis_server.ask("SET", "a", "1")
    redis_server.pause() if number else redis_server.kill()  # and runs


def test_a_cluster(redis_cluster: RedisCluster):
    names = [f"name {number}" for number in range(50)]
    with redis.RedisCluster.from_url(redis_cluster.url.split(",")[0].replace("+cluster", "")) as client:
        for name in names:
            client.set(name, name)
        assert [client.get(name) for name in names] == [name.encode() for name in names]
    for name in names:
        assert redis_cluster.server_of(name).ask("GET", name) == name.encode()
    assert {redis_cluster.server_of(name).port for name in names} == {
        server.port for server in redis_cluster.servers
    }


def test_a_failover(watched_redis: WatchedRedis):
    assert watched_redis.master_port() == watched_redis.master.port
    client = watched_redis.master.client()
    client.set("a", "1")
    assert client.wait(1, 5000) == 1
    watched_redis.fail_over()
    assert watched_redis.replica.ask("GET", "a") == b"1"
    watched_redis.replica.ask("SET", "a", "2")


# -- the program ---------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Path:
    """Give a PATH with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(redis_servers.ANOTHER, raising=False)
    return tmp_path


def test_valkey_does_as_well(bare):
    program = bare / "valkey-server"
    program.write_text("")
    program.chmod(0o700)
    assert redis_servers.binary() == program


def test_a_server_without_its_executable_bit(tmp_path):
    """As the wheel's is; where there is no wheel, any other will do."""
    program = tmp_path / "bundled"
    program.write_bytes((redis_servers._bundled() or redis_servers.needed()).read_bytes())
    with RedisServer(program) as server:
        assert server.ask("PING") == b"PONG"
    assert not os.access(program, os.X_OK)


@pytest.mark.parametrize(
    ("version", "is_ci", "outcome", "reason"),
    [
        ((3, 11), False, SKIPPED, MISSING),
        ((3, 12), True, FAILED, f"{MISSING}, and this is CI"),
        ((3, 13), True, SKIPPED, f"{MISSING}; the battery ran on memory and SQLite"),
    ],
)
def test_without_a_server(bare, monkeypatch, version, is_ci, outcome, reason):
    monkeypatch.setattr(redis_servers, "_bundled", lambda: None)
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setenv("CI", "true") if is_ci else monkeypatch.delenv("CI", raising=False)
    with pytest.raises(outcome) as caught:
        RedisServer()
    assert caught.value.msg == reason
