"""The store on Redis, by the battery that any store must pass."""

from __future__ import annotations

import socket
import subprocess
import time

import pytest
import redis

from fbguard.stores.redis import RedisStore
from tests.stores.battery import Battery, World

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


def advance(client: redis.Redis, seconds: float) -> None:
    """Let time go by for all keys: each ends so much earlier."""
    for key in client.scan_iter():
        left = client.pttl(key) - seconds * 1000
        assert client.pttl(key) > 0, key
        if client.type(key) == b"zset":
            for member, score in client.zrange(key, 0, -1, withscores=True):
                client.zadd(key, {member: score - seconds * 1000})
        client.pexpire(key, max(round(left), 0))


@pytest.fixture(scope="session")
def server():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.close()
    p = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.02)
    yield client, f"redis://127.0.0.1:{port}"
    p.kill()
    p.wait()
    client.close()


@pytest.fixture
def world(server) -> World:
    client, url = server
    client.flushall()
    return World(lambda: RedisStore(url).space("app"), lambda seconds: advance(client, seconds))


class TestRedisStore(Battery):
    """Everything that any store must do."""
