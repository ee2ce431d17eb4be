"""Real servers, one worker each, in processes of their own, and the sandbox that their guards ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from fbguard.sandbox import Sandbox
from tests.servers.raw import HOST, Reply, exchange

ROOT = Path(__file__).parents[2]
STARTING = 30.0  # seconds
STOPPING = 10.0  # seconds; a server that ignores its signal that long is killed
POLL = 0.02  # seconds between two tries to connect
TRIES = 3  # a free port may be gone before the server takes it
WIDE = "header,query,cookie:fb,websocket-protocol"  # the second configuration

# {fd} is a socket that listens already, {port} a free port for a server that must open it itself.
UVICORN = "uvicorn tests.servers.apps:asgi_app --fd {fd} --loop asyncio --lifespan on --no-access-log"
GUNICORN = "gunicorn tests.servers.apps:wsgi_app --bind fd://{fd} --workers 1 --no-control-socket"
GRANIAN = f"granian --host {HOST} --port {{port}} --workers 1 --workers-kill-timeout 1"
COMMANDS = {
    "uvicorn-h11": f"{UVICORN} --http h11",
    "uvicorn-httptools": f"{UVICORN} --http httptools",
    "hypercorn": "hypercorn tests.servers.apps:asgi_app --bind fd://{fd} --workers 0",
    "granian-asgi": f"{GRANIAN} --interface asgi --loop asyncio tests.servers.apps:asgi_app",
    # 192.0.2.1 is nobody (RFC 5737): the clients of this one are no proxy that it trusts.
    "gunicorn-sync": f"{GUNICORN} --worker-class sync --forwarded-allow-ips 192.0.2.1",
    "gunicorn-gthread": f"{GUNICORN} --worker-class gthread --threads 2",
    "granian-wsgi": f"{GRANIAN} --interface wsgi tests.servers.apps:wsgi_app",
}
ASGI = ("uvicorn-h11", "uvicorn-httptools", "hypercorn", "granian-asgi")
QUICK = frozenset({"uvicorn-h11", "gunicorn-sync"})


def params(*names: str) -> list[object]:
    """Return servers as the params of a fixture; all but two are slow."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


class Server:
    """A server that runs with one configuration of the guard."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], sandbox: Sandbox) -> None:
        self.name = name
        self.port = port
        self.sandbox = sandbox
        self._process = process
        self._known = sandbox.issue_token(user_id="1000").encode()

    def send(self, request: bytes) -> Reply:
        return exchange(self.port, request)

    def pid(self) -> int:
        """Return the worker's process id, which a valid request tells."""
        head = b"GET /me HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer "
        reply = self.send(head + self._known + b"\r\n\r\n")
        assert (reply.status, reply.json["user_id"]) == (200, "1000"), reply
        return reply.json["pid"]

    def answers(self) -> bool:
        """Wait until it serves; False if it ended."""
        deadline = time.monotonic() + STARTING
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"{self.name} says nothing"
            with suppress(OSError):
                if self.send(b"GET /health HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n").status:
                    return True
            time.sleep(POLL)
        return False


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(name: str, log: object, variables: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server((HOST, 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by connections
        port = listener.getsockname()[1]
        words = COMMANDS[name].format(fd=listener.fileno(), port=port).split()
        start = partial(
            subprocess.Popen[bytes],
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("FBGUARD_")}
            | variables,
        )
        if "{fd}" in COMMANDS[name]:
            return start(pass_fds=[listener.fileno()]), port
    return start(), port


@contextmanager
def serving(name: str, token_from: str, sandbox: Sandbox, graph: str) -> Iterator[Server]:
    """Run a server while the block runs; what it wrote must tell of no exception."""
    variables = {
        "FBGUARD_APP_ID": sandbox.app_id,
        "FBGUARD_APP_SECRET": sandbox.app_secret,
        "FBGUARD_GRAPH_URL": graph,
        "TESTS_TOKEN_FROM": token_from,
    }
    with tempfile.TemporaryFile("a+b") as log:
        try:
            for _ in range(TRIES):
                process, port = _start(name, log, variables)
                with _ended(process):
                    server = Server(name, port, process, sandbox)
                    if server.answers():
                        yield server
                        log.seek(0)
                        assert b"Traceback" not in log.read(), f"{name} met an exception"
                        break
            else:
                raise AssertionError(f"{name} did not start")
        finally:
            log.seek(0)
            print(log.read().decode(errors="replace"))  # pytest shows it beside what failed


class Deployment:
    """One kind of server; each of its two configurations runs from its first use on."""

    def __init__(self, name: str, stack: ExitStack, sandbox: Sandbox, graph: str) -> None:
        self.name = name
        self._stack = stack
        self._serving = partial(serving, name, sandbox=sandbox, graph=graph)
        self._servers: dict[str, Server] = {}

    def configured(self, token_from: str = "header") -> Server:
        if token_from not in self._servers:
            self._servers[token_from] = self._stack.enter_context(self._serving(token_from))
        return self._servers[token_from]
