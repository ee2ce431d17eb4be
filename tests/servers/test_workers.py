"""Rows J07, J09 and J12: synchronous callers on every kind of worker, before and after a fork, to the end."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fbguard.sandbox import Sandbox
from tests.servers.deployment import POLL, ROOT, STARTING, STOPPING, TRIES
from tests.servers.raw import HOST, PATIENCE

DEADLINE = 2.0  # seconds, of the guards
MARGIN = 1.5  # seconds that a busy machine may add to it
CROWD = 50  # clients at once
MASTER = "900"  # the user whose token the master looks up
_GUNICORN = (
    "-m gunicorn tests.servers.worker_app:app --bind {host}:{port} --no-control-socket --graceful-timeout 5"
)
_UWSGI = (
    f"{Path(sys.executable).with_name('uwsgi')} --http-socket {{host}}:{{port}}"
    " --module tests.servers.worker_app:app --master --processes 2 --need-app"
    " --die-on-term --worker-reload-mercy 2 --disable-logging"
)
COMMANDS = {
    "gunicorn-sync": f"{_GUNICORN} --workers 2",
    "gunicorn-gthread": f"{_GUNICORN} --workers 2 --worker-class gthread --threads 8",
    "gunicorn-gevent": f"{_GUNICORN} --workers 1 --worker-class gevent",
    "uwsgi": _UWSGI,
    "uwsgi-enable-threads": f"{_UWSGI} --enable-threads",
    "uwsgi-threads": f"{_UWSGI} --threads 8",
    "uwsgi-hooks": f"{_UWSGI} --threads 8 --py-call-uwsgi-fork-hooks",
    "uvicorn": "-m uvicorn tests.servers.apps:asgi_app --host {host} --port {port} --loop asyncio",
}
ANY_WORKER = [name for name in COMMANDS if name != "uvicorn"]


@dataclass
class Served:
    """A server that runs, and the log of its processes."""

    port: int
    process: subprocess.Popen[bytes]
    output: BinaryIO

    def ask(self, token: str | None = None, together: threading.Barrier | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            if together is not None:
                connection.connect()
                together.wait(PATIENCE)
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            connection.request("GET", "/me", headers=headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def ask_all(self, tokens: list[str]) -> list[dict[str, Any]]:
        """Ask about all of them, the first ``CROWD`` at one moment."""
        together = threading.Barrier(min(CROWD, len(tokens)))
        barriers = [together] * together.parties + [None] * (len(tokens) - together.parties)
        with ThreadPoolExecutor(CROWD) as pool:
            return list(pool.map(self.ask, tokens, barriers))

    def log(self) -> str:
        return os.pread(self.output.fileno(), 10_000_000, 0).decode(errors="replace")

    def is_up(self) -> bool:
        patience = time.monotonic() + STARTING
        while self.process.poll() is None:
            assert time.monotonic() < patience, "it says nothing"
            with suppress(OSError, http.client.HTTPException):
                self.ask()
                return True
            time.sleep(POLL)
        return False

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(STOPPING)


@contextmanager
def serving(name: str, sandbox: Sandbox, graph: str, more: str = "", **variables: str) -> Generator[Served]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FBGUARD_")} | {
        "FBGUARD_APP_ID": sandbox.app_id,
        "FBGUARD_APP_SECRET": sandbox.app_secret,
        "FBGUARD_GRAPH_URL": graph.replace(HOST, "localhost"),  # a name, as Graph has: it is resolved
        "FBGUARD_DEADLINE": str(DEADLINE),
        "PYTHONWARNINGS": "always::ResourceWarning",
        **variables,
    }
    with tempfile.TemporaryFile("a+b") as output:
        for _ in range(TRIES):
            served = _start(f"{COMMANDS[name]} {more}", output, environment)
            try:
                if served.is_up():
                    yield served
                    break
            finally:
                _end(served.process)
                print(served.log())  # pytest shows it beside what failed
        else:
            raise AssertionError(f"{name} did not start")


def _start(command: str, output: BinaryIO, environment: dict[str, str]) -> Served:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *command.format(host=HOST, port=port).split()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    return Served(port, process, output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; workers that hang, too: they are in its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def facebook() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox()
    with sandbox.serve() as url:
        yield sandbox, url


def tokens_of(sandbox: Sandbox, first: int, count: int) -> dict[str, str]:
    """Return tokens with their users."""
    users = map(str, range(first, first + count))
    return {sandbox.issue_token(user_id=user): user for user in users}


@pytest.mark.parametrize("name", ANY_WORKER)
def test_J09_cold_tokens_on_every_kind_of_worker(name: str, facebook: tuple[Sandbox, str]) -> None:
    tokens = tokens_of(facebook[0], 1000, 50)
    with serving(name, *facebook) as served:
        answers = served.ask_all(list(tokens))
        assert [answer.get("user") for answer in answers] == list(tokens.values())
        assert served.end() == 0
        assert "Traceback" not in served.log()


def test_J09_a_slow_look_up_does_not_stop_the_hub(facebook: tuple[Sandbox, str]) -> None:
    sandbox, _ = facebook
    known, slow = sandbox.issue_token(user_id="1"), sandbox.issue_token(user_id="2")
    with serving("gunicorn-gevent", *facebook) as served, ThreadPoolExecutor(1) as pool:
        served.ask(known)
        sandbox.fail(status=None, delay=60, times=1)
        before = len(sandbox.calls)
        begun = time.monotonic()
        late = pool.submit(served.ask, slow)
        while len(sandbox.calls) == before:
            assert time.monotonic() < begun + PATIENCE
            time.sleep(POLL)
        hits = [served.ask(known)["user"] for _ in range(20)]
        assert not late.done(), "it was over before the others had asked"
        assert late.result()["reason"] == "unavailable"
        assert time.monotonic() - begun < DEADLINE + MARGIN
    assert hits == ["1"] * 20


def test_J09_no_request_of_a_hub_takes_the_guards_loop_for_its_own(facebook: tuple[Sandbox, str]) -> None:
    """Or Django's ORM refuses to work there, and no async view runs."""
    with serving("gunicorn-gevent", *facebook) as served:
        assert served.ask(facebook[0].issue_token())["user"]
        assert served.ask()["sees_a_loop"] is False


@pytest.mark.parametrize("name", ["gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent", "uwsgi-hooks"])
def test_J07_a_guard_that_was_used_before_the_fork(name: str, facebook: tuple[Sandbox, str]) -> None:
    sandbox, graph = facebook
    known = sandbox.issue_token(user_id=MASTER)
    preload = "" if name.startswith("uwsgi") else "--preload"
    tokens = tokens_of(sandbox, 1000, 100)
    with serving(name, sandbox, graph, preload, TESTS_TOKEN=known) as served:
        assert (len(sandbox.calls), served.ask(known)["user"]) == (1, MASTER)  # the fact came along
        answers = served.ask_all([*tokens] * 5)
        assert [answer.get("user") for answer in answers] == list(tokens.values()) * 5
        of_the_master = sockets_to(graph, served.process.pid)
        assert of_the_master
        for pid in {answer["pid"] for answer in answers}:  # which hold the master's, too, but do not use them
            assert sockets_to(graph, pid) - of_the_master
        assert served.end() == 0
        assert "Traceback" not in served.log()


def test_J07_the_first_look_ups_of_a_hub_come_all_at_once_after_the_fork(
    facebook: tuple[Sandbox, str],
) -> None:
    """Modules were imported before gevent patched: a lock held while greenlets switch is held for ever."""
    tokens = tokens_of(facebook[0], 1000, CROWD)
    with serving("gunicorn-gevent", *facebook, "--preload") as served:
        answers = served.ask_all(list(tokens))
    assert [answer.get("user") for answer in answers] == list(tokens.values())


@pytest.mark.parametrize("name", ["uwsgi-threads"])
def test_J07_used_before_a_fork_that_runs_no_hooks(name: str, facebook: tuple[Sandbox, str]) -> None:
    known = facebook[0].issue_token(user_id=MASTER)
    tokens = tokens_of(facebook[0], 1000, 10)
    with serving(name, *facebook, TESTS_TOKEN=known) as served:
        answers = served.ask_all(list(tokens))
    assert [answer.get("user") for answer in answers] == list(tokens.values())


def sockets_to(graph: str, pid: int) -> set[str]:
    """Return the inodes of a process's connections to Graph."""
    port = f":{int(graph.rpartition(':')[2]):04X}"
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    connections = {row[9] for row in rows if row[2].endswith(port)}
    found: set[str] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inode = entry.readlink().name.removeprefix("socket:[").removesuffix("]")
            found |= {inode} & connections
    return found


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn-gthread", "gunicorn-gevent"])
def test_J12_look_ups_under_way_are_drained(name: str, facebook: tuple[Sandbox, str]) -> None:
    sandbox, _ = facebook
    tokens = tokens_of(sandbox, 1000, 8)
    with serving(name, *facebook, FBGUARD_DEADLINE="8") as served, ThreadPoolExecutor(8) as pool:
        sandbox.fail(status=None, delay=1.0)
        answers = [pool.submit(served.ask, token) for token in tokens]
        patience = time.monotonic() + PATIENCE
        while len(sandbox.calls) < len(tokens):
            assert time.monotonic() < patience
            time.sleep(POLL)
        served.process.terminate()
        said = [answer.result() for answer in answers]
        assert served.process.wait(STOPPING) in {0, -signal.SIGTERM}  # uvicorn ends by the signal
        log = served.log()
    assert [one.get("user", one.get("user_id")) for one in said] == list(tokens.values())
    port = facebook[1].rpartition(":")[2]
    for trace in ("Traceback", "never retrieved", "Unclosed", "was destroyed", "never awaited", f", {port})"):
        assert trace not in log
