"""Every app on every server that speaks its protocol, each in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import pytest

from fbguard.sandbox import Sandbox
from tests.frameworks.apps import APPS, App
from tests.frameworks.sites.logs import MARK
from tests.servers.deployment import POLL, ROOT, STARTING, STOPPING, TRIES
from tests.servers.raw import HOST, Reply, exchange
from tests.servers.table import ask

REDIRECT_URI = "https://app.example/login"
_GRANIAN = f"granian --host {HOST} --port {{port}} --workers 1 --workers-kill-timeout 1"
# {fd} is a socket that listens already, {port} a free port for a server that must open it itself.
COMMANDS = {
    "uvicorn": "uvicorn {app} --fd {fd} --loop asyncio --lifespan {lifespan} --no-access-log",
    "hypercorn": "hypercorn {app} --bind fd://{fd} --workers 0",
    "granian-asgi": f"{_GRANIAN} --interface {{asgi}} --loop asyncio {{app}}",
    "gunicorn": "gunicorn {app} --bind fd://{fd} --workers 1 --no-control-socket "
    "--worker-class gthread --threads {threads} --keep-alive 30",
    "gunicorn-gevent": "gunicorn {app} --bind fd://{fd} --workers 1 --no-control-socket "
    "--worker-class gevent --worker-connections 1000 --keep-alive 30",
    "granian-wsgi": f"{_GRANIAN} --interface wsgi {{app}}",
}
QUICK = frozenset({"uvicorn", "gunicorn"})
SERVERS = {True: ("uvicorn", "hypercorn", "granian-asgi"), False: ("gunicorn", "granian-wsgi")}
THREADS = 4


@dataclass(frozen=True)
class Kind:
    """One app on one server."""

    app: App
    server: str

    @property
    def id(self) -> str:
        return f"{self.app.name}-{self.server}"


KINDS = [Kind(app, server) for app in APPS for server in SERVERS[app.asgi]]
REFERENCE = KINDS[0]  # plain ASGI on uvicorn: what every other answer is compared with


def params() -> list[object]:
    marks = {True: (), False: pytest.mark.slow}
    return [pytest.param(kind, id=kind.id, marks=marks[kind.server in QUICK]) for kind in KINDS]


class Served:
    """An app that a server serves."""

    def __init__(self, kind: Kind, port: int, process: subprocess.Popen[bytes], log: BinaryIO) -> None:
        self.kind = kind
        self.name = kind.id
        self.door = kind.app.door
        self.port = port
        self.process = process
        self._log = log

    def send(self, path: str, fields: list[str], method: str = "GET") -> Reply:
        return exchange(self.port, ask(path, *fields, method=method))

    def log(self) -> str:
        """Return what the server and the app have written so far."""
        return os.pread(self._log.fileno(), 10_000_000, 0).decode(errors="replace")

    def records(self) -> list[str]:
        """Return the records in the loggers that must be quiet."""
        return [line for line in self.log().splitlines() if line.startswith(MARK)]

    def is_up(self) -> bool:
        """Wait until it serves; False if it ended."""
        deadline = time.monotonic() + STARTING
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"{self.name} says nothing"
            with suppress(OSError):
                if self.send("/health", []).status:
                    return True
            time.sleep(POLL)
        return False


def variables(sandbox: Sandbox, graph: str) -> dict[str, str]:
    return {
        "FBGUARD_APP_ID": sandbox.app_id,
        "FBGUARD_APP_SECRET": sandbox.app_secret,
        "FBGUARD_GRAPH_URL": graph,
        "FBGUARD_REDIRECT_URI": REDIRECT_URI,
        "FBGUARD_JWKS_URL": f"{graph}/.well-known/oauth/openid/jwks/",
        "FBGUARD_DEADLINE": "20",
        "PYTHONWARNINGS": "error,ignore::ResourceWarning",  # gunicorn leaves a socket to the collector
    }


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


def _start(
    kind: Kind, threads: int, log: BinaryIO, environment: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    is_django = kind.app.name.startswith("django")  # whose handler knows no lifespan
    with socket.create_server((HOST, 0)) as listener:
        # Inherited by connections; uvicorn takes an inherited socket for a Unix one and does not set it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        words = COMMANDS[kind.server].format(
            app=f"tests.frameworks.sites.{kind.app.target}",
            fd=listener.fileno(),
            port=port,
            threads=threads,
            lifespan="off" if is_django else "on",
            asgi="asginl" if is_django else "asgi",
        )
        inherits = "{fd}" in COMMANDS[kind.server]
        if not inherits:
            listener.close()
        process = subprocess.Popen(
            [sys.executable, "-m", *words.split()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("FBGUARD_")}
            | environment,
            pass_fds=[listener.fileno()] if inherits else [],
        )
    return process, port


@contextmanager
def serving(kind: Kind, sandbox: Sandbox, graph: str, threads: int = THREADS) -> Iterator[Served]:
    """Serve an app while the block runs; what was written must tell of no exception."""
    with tempfile.TemporaryFile("a+b") as log:
        try:
            for _ in range(TRIES):
                process, port = _start(kind, threads, log, variables(sandbox, graph))
                with _ended(process):
                    served = Served(kind, port, process, log)
                    if served.is_up():
                        yield served
                        break
            else:
                raise AssertionError(f"{kind.id} did not start")
            assert "Traceback" not in served.log(), f"{kind.id} met an exception"
        finally:
            log.seek(0)
            print(log.read().decode(errors="replace"))  # pytest shows it beside what failed


class Farm:
    """The servers of a run; each starts at its first use."""

    def __init__(self, stack: ExitStack, sandbox: Sandbox, graph: str) -> None:
        self.sandbox = sandbox
        self.graph = graph
        self._stack = stack
        self._served: dict[str, Served] = {}

    def get(self, kind: Kind) -> Served:
        if kind.id not in self._served:
            self._served[kind.id] = self._stack.enter_context(serving(kind, self.sandbox, self.graph))
        return self._served[kind.id]


Send = Callable[[str, list[str], str], Reply]
