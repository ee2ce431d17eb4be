"""A fleet: uvicorn processes and a gunicorn with several workers, a Facebook for them, and one Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from fbguard.sandbox import Sandbox
from tests.fleet.history import History, read
from tests.redis_servers import HOST, RedisServer

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0  # seconds: on a busy machine eight processes take long to import what they need
WORKERS: Final = 4  # of gunicorn, and processes of uvicorn
LINES: Final = 4  # kept-alive connections to each worker

_STOPPING: Final = 15.0  # seconds; a server that ignores its signal that long is killed
_POLL: Final = 0.02
# A client's connections stay with one worker, which is how it tells them apart. A worker takes no more than
# its share of them, so that the others get some, too.
GUNICORN: Final = (
    "gunicorn tests.fleet.apps:flask_app --bind fd://{fd} --no-control-socket --worker-class gthread"
    f" --workers {WORKERS} --threads {LINES} --worker-connections {3 * LINES} --keep-alive 600"
)
UVICORN: Final = (
    "uvicorn tests.fleet.apps:asgi_app --fd {fd} --loop asyncio --lifespan on --no-access-log"
    " --timeout-keep-alive 600"
)
MIXED: Final = (*(UVICORN,) * WORKERS, GUNICORN)
PRELOADED: Final = (f"{GUNICORN} --preload",)


@dataclass
class Served:
    """One command that serves on a port; ``workers`` is how many of its processes answer there."""

    command: str
    port: int
    process: subprocess.Popen[bytes]
    output: BinaryIO

    @property
    def workers(self) -> int:
        return WORKERS if self.command.startswith("gunicorn") else 1

    def log(self) -> str:
        return os.pread(self.output.fileno(), 10_000_000, 0).decode(errors="replace")

    def end(self) -> None:
        """End it; workers that hang, too: they are in its group."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOPPING)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Fleet:
    """Servers that run, whom they ask, and what they write."""

    sandbox: Sandbox
    redis: RedisServer
    diaries: Path
    environment: Mapping[str, str]
    stack: ExitStack
    servers: list[Served] = field(default_factory=list[Served])

    def launch(self, *commands: str) -> list[Served]:
        """Start more servers, together, and wait for them."""
        started: list[Served] = []
        for command in commands:
            output = self.stack.enter_context(tempfile.TemporaryFile("a+b"))  # noqa: SIM115 - the stack closes it
            started.append(_start(command, output, self.environment))
            self.stack.callback(started[-1].end)
        for server in started:
            _wait_for(server)
        self.servers += started
        return started

    @property
    def history(self) -> History:
        return read(self.diaries)

    def complaints(self) -> list[str]:
        """Return the servers' logs that tell of exceptions."""
        return [log for log in (server.log() for server in self.servers) if "Traceback" in log]


@contextmanager
def sailing(
    commands: Sequence[str] = MIXED,
    *,
    url: str | None = None,
    appendonly: bool = False,
    prepare: Callable[[Sandbox], Mapping[str, str]] = lambda _: {},
) -> Generator[Fleet]:
    """Run a fleet while the block runs.

    ``url`` is of its store, if that is not a Redis of its own, which keeps what it has with ``appendonly``;
    ``prepare`` gives more variables of its environment.
    """
    with ExitStack() as stack:
        sandbox = Sandbox()
        graph = stack.enter_context(sandbox.serve())
        redis = stack.enter_context(RedisServer(appendonly=appendonly))
        diaries = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fbguard-fleet-")))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FBGUARD_")} | {
            "FBGUARD_APP_ID": sandbox.app_id,
            "FBGUARD_APP_SECRET": sandbox.app_secret,
            "FBGUARD_GRAPH_URL": graph,
            "TESTS_REDIS": url or redis.url,
            "TESTS_DIARIES": str(diaries),
            **prepare(sandbox),
        }
        fleet = Fleet(sandbox, redis, diaries, environment, stack)
        try:
            fleet.launch(*commands)
            yield fleet
        finally:
            for server in fleet.servers:
                print(server.log())  # pytest shows it beside what failed


def _start(command: str, output: BinaryIO, environment: Mapping[str, str]) -> Served:
    with socket.create_server((HOST, 0), backlog=100) as listener:
        # Connections inherit it. Or an answer in two parts waits 40 ms for the client to acknowledge one.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        process = subprocess.Popen(
            [sys.executable, "-m", *command.format(fd=listener.fileno()).split()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        return Served(command, int(listener.getsockname()[1]), process, output)


def _wait_for(server: Served) -> None:
    """Wait until it says that it, or all of its workers, are there."""
    said, count = ("Booting worker", WORKERS) if server.workers > 1 else ("Application startup complete", 1)
    patience = time.monotonic() + PATIENCE
    while server.log().count(said) < count:
        assert server.process.poll() is None, f"it ended:\n{server.log()}"
        assert time.monotonic() < patience, f"it does not start:\n{server.log()}"
        time.sleep(_POLL)
