"""A Graph for benchmarks: a process of its own that answers late, as a network does, and counts.

It knows ``GET …/debug_token?input_token=…`` and the batch call ``POST …`` with the form field ``batch``.
Every token of :func:`make_token` is good; whose it is stands in it, so that a wrong answer is seen.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

APP_ID: Final = "1234567890"
DELAY: Final = 0.05  # seconds until debug_token is answered
BATCH_DELAY: Final = 0.06
MAX_BATCH: Final = 50  # sub-requests

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 1024  # of connections: nobody's first one waits for a SYN to be sent again
_LIFE: Final = 60 * 86_400  # seconds, of a long-lived token
_PATIENCE: Final = 10.0  # seconds until the process must have started, answered or ended
_USER: Final = slice(4, 16)  # where in a token its user stands
_COUNTS: Final = "/counts"
# Of a length like Graph's own; what a client must read of every answer.
_HEADERS: Final = (
    ("Content-Type", "application/json; charset=UTF-8"),
    ("Access-Control-Allow-Origin", "*"),
    ("Strict-Transport-Security", "max-age=15552000; preload"),
    ("Cache-Control", "private, no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Expires", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("facebook-api-version", "v26.0"),
    ("x-fb-trace-id", "AbCdEfGhIjK"),
    ("x-fb-rev", "1000000000"),
    ("Connection", "keep-alive"),
)
_HEAD: Final = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS)


def make_token(number: int) -> str:
    """Return the token of user ``number`` (of 12 digits), as long as a real one."""
    return f"EAAB{number:012d}{'Zc9' * 60}"


def user_of(token: str) -> str:
    """Return whose token it is."""
    return token[_USER]


@dataclass(slots=True)
class Counts:
    """What the process was asked since it was last asked for its counts.

    ``calls`` are HTTP requests, ``tokens`` the debug_token questions in them; ``connections`` were
    opened. ``peak_calls`` were under way at once, ``peak_connections`` open at once.
    """

    calls: int = 0
    tokens: int = 0
    connections: int = 0
    peak_calls: int = 0
    peak_connections: int = 0


class Graph:
    """What all connections share; times are seconds."""

    def __init__(self, delay: float = DELAY, batch_delay: float = BATCH_DELAY) -> None:
        self.delay = delay
        self.batch_delay = batch_delay
        self._counts = Counts()
        self._under_way = 0
        self._open = 0
        self._expires = int(time.time()) + _LIFE

    def connected(self) -> None:
        """Count a new connection."""
        self._open += 1
        self._counts.connections += 1
        self._counts.peak_connections = max(self._counts.peak_connections, self._open)

    def disconnected(self) -> None:
        """Count a connection that has ended."""
        self._open -= 1

    def began(self, tokens: int) -> None:
        """Count a call that asks about so many tokens."""
        self._under_way += 1
        self._counts.calls += 1
        self._counts.tokens += tokens
        self._counts.peak_calls = max(self._counts.peak_calls, self._under_way)

    def ended(self) -> None:
        """Count the answer to a call."""
        self._under_way -= 1

    def take_counts(self) -> Counts:
        """Return the counts and start again; what is open and under way stays counted."""
        taken = self._counts
        self._counts = Counts(peak_calls=self._under_way, peak_connections=self._open)
        return taken

    def debug_token(self, token: str) -> bytes:
        """Return the reply about a long-lived user token."""
        return json.dumps(
            {
                "data": {
                    "app_id": APP_ID,
                    "type": "USER",
                    "application": "Benchmark",
                    "data_access_expires_at": self._expires,
                    "expires_at": self._expires,
                    "is_valid": True,
                    "issued_at": self._expires - _LIFE,
                    "scopes": ["email", "public_profile"],
                    "granular_scopes": [{"scope": "email"}, {"scope": "public_profile"}],
                    "user_id": user_of(token),
                }
            }
        ).encode()

    def batch(self, tokens: list[str], *, with_headers: bool) -> bytes:
        """Return the array that answers a batch: one entry per token, in their order."""
        headers = [{"name": name, "value": value} for name, value in _HEADERS]
        return json.dumps(
            [
                {"code": 200, **({"headers": headers} if with_headers else {}), "body": body.decode()}
                for body in map(self.debug_token, tokens)
            ]
        ).encode()


class Connection(asyncio.Protocol):
    """One connection of a client; one request at a time, for nobody here sends the next one early."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted:
            self._graph.disconnected()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._received = b""
        method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        if method == "POST":
            self._batch(body)
        elif urlsplit(target).path == _COUNTS:
            self._send(200, json.dumps(asdict(self._graph.take_counts())).encode())
        else:
            self._debug_token(target)

    def _debug_token(self, target: str) -> None:
        tokens = _input_tokens(target)
        if len(tokens) != 1:
            self._send(400, _error("(#100) The parameter input_token is required"))
            return
        self._answer_after(self._graph.delay, 1, lambda: self._graph.debug_token(tokens[0]))

    def _batch(self, body: bytes) -> None:
        form = parse_qs(body.decode("ascii"))
        items: list[dict[str, Any]] = json.loads(form.get("batch", ["[]"])[0])
        if not 0 < len(items) <= MAX_BATCH:
            self._send(400, _error(f"a batch holds 1 to {MAX_BATCH} requests"))
            return
        tokens = [token for item in items for token in _input_tokens(item["relative_url"])]
        if len(tokens) != len(items):
            self._send(400, _error("only debug_token is known here"))
            return
        with_headers = form.get("include_headers", ["true"])[0] not in {"false", "0"}
        self._answer_after(
            self._graph.batch_delay,
            len(tokens),
            lambda: self._graph.batch(tokens, with_headers=with_headers),
        )

    def _answer_after(self, seconds: float, tokens: int, make_body: Callable[[], bytes]) -> None:
        if not self._counted:  # at its first call, so that asking for the counts does not change them
            self._counted = True
            self._graph.connected()
        self._graph.began(tokens)
        asyncio.get_running_loop().call_later(seconds, self._answer, make_body)

    def _answer(self, make_body: Callable[[], bytes]) -> None:
        self._graph.ended()
        self._send(200, make_body())

    def _send(self, status: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            head = f"HTTP/1.1 {status} -\r\n{_HEAD}Content-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


def _input_tokens(url: str) -> list[str]:
    return parse_qs(urlsplit(url).query).get("input_token", [])


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "OAuthException", "code": 100}}).encode()


@dataclass(frozen=True, slots=True)
class GraphProcess:
    """The other end of a Graph that runs: its address, and how to ask what it has counted."""

    port: int

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://{_HOST}:{self.port}"

    def take_counts(self) -> Counts:
        """Return what was counted since this was last called."""
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_PATIENCE)
        try:
            connection.request("GET", _COUNTS)
            return Counts(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextmanager
def running(*, delay: float = DELAY, batch_delay: float = BATCH_DELAY) -> Generator[GraphProcess]:
    """Run a Graph in a process of its own; it ends with the block, or when this process is gone."""
    command = [sys.executable, "-m", "benchmarks.graph", f"--delay={delay}", f"--batch-delay={batch_delay}"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield GraphProcess(int(process.stdout.readline()))
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()  # nothing, if it has ended


async def serve(graph: Graph) -> None:
    """Answer on a free loopback port, which is printed, until standard input ends."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: Connection(graph), _HOST, 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    server.close()


def _fast_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's loop where it is installed: the less the server takes, the more is the client's."""
    try:
        found: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return found


def main() -> None:
    """Be the process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph", description=__doc__)
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds, of debug_token")
    parser.add_argument("--batch-delay", type=float, default=BATCH_DELAY, help="seconds, of a batch")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=_fast_loop) as runner:
        runner.run(serve(Graph(given.delay, given.batch_delay)))


if __name__ == "__main__":
    main()
