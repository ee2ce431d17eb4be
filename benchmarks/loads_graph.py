"""A Graph for loads, in a process of its own: it answers debug_token, can be slow or throttle, and counts.

Tokens that begin with :data:`GOOD` are valid, all others malformed. The process reads its settings as
lines of JSON and answers each with what it has seen so far.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

APP_ID: Final = "1234567890"
GOOD: Final = "EAAgood"

_DAY: Final = 86_400
_PATIENCE: Final = 20.0  # seconds for a process to end


@dataclass(slots=True)
class Settings:
    """``delay`` is seconds; every ``stalls``-th call (0: none) is not answered at all."""

    port: int = 0
    delay: float = 0.0
    stalls: int = 0
    throttles: bool = False


@dataclass(slots=True)
class Seen:
    """``moments`` are the calls, in seconds of the monotonic clock; ``good`` those with good tokens."""

    port: int = 0
    good: int = 0
    connected: int = 0
    moments: list[float] = field(default_factory=list[float])

    @property
    def busiest_second(self) -> int:
        """Return the greatest number of calls in any second."""
        most = first = 0
        for last, moment in enumerate(self.moments):
            while self.moments[first] <= moment - 1:
                first += 1
            most = max(most, last - first + 1)
        return most


class Graph:
    """The process, from outside. It ends with the block, or with this process."""

    def __init__(self, **settings: float) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens: the same place after a new start."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loads_graph"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self._port = self.set(**{**self._settings, "port": self._port}).port

    def set(self, **changes: float) -> Seen:
        """Change settings; returns what it has seen."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("this Graph does not run")
        self._process.stdin.write(json.dumps(changes) + "\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._process.stdout.readline()))

    def kill(self) -> None:
        """Let it die at once (SIGKILL)."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=_PATIENCE)

    def freeze(self) -> None:
        """Let it hang: it takes connections, as the system does that, and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class _Connection(asyncio.Protocol):
    def __init__(self, settings: Settings, seen: Seen) -> None:
        self._settings = settings
        self._seen = seen
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._seen.connected += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.connected -= 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:  # no request of ours has a body
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            self._take(request)

    def _take(self, request: bytes) -> None:
        target = request.split(b" ", 2)[1].decode("ascii")
        token = target.partition("input_token=")[2].partition("&")[0]
        is_good = token.startswith(GOOD)
        self._seen.moments.append(time.monotonic())
        self._seen.good += is_good
        if self._settings.stalls and len(self._seen.moments) % self._settings.stalls == 0:
            return
        status, body = _throttled() if self._settings.throttles else _answer(token, is_good=is_good)
        asyncio.get_running_loop().call_later(self._settings.delay, self._say, status, body)

    def _say(self, status: str, body: dict[str, Any]) -> None:
        if self._transport is None:
            return
        payload = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        self._transport.write(head.encode() + payload)


def _throttled() -> tuple[str, dict[str, Any]]:
    message = "(#4) Application request limit reached"
    return "400 Bad Request", {"error": {"message": message, "type": "OAuthException", "code": 4}}


def _answer(token: str, *, is_good: bool) -> tuple[str, dict[str, Any]]:
    if not token:
        return "200 OK", {"id": APP_ID}
    if not is_good:
        error = {"code": 190, "message": "Malformed access token"}
        return "200 OK", {"data": {"error": error, "is_valid": False, "scopes": []}}
    end = int(time.time()) + _DAY
    data = {
        "app_id": APP_ID,
        "type": "USER",
        "application": "Loads",
        "data_access_expires_at": end,
        "expires_at": end,
        "is_valid": True,
        "scopes": ["public_profile"],
        "user_id": "1001",
    }
    return "200 OK", {"data": data}


async def _serve() -> None:
    settings, seen = Settings(), Seen()
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():  # its end is the end of whoever started this process
        for name, value in json.loads(line).items():
            setattr(settings, name, value)
        if not seen.port:
            server = await loop.create_server(
                lambda: _Connection(settings, seen), "127.0.0.1", settings.port, backlog=1024
            )
            seen.port = server.sockets[0].getsockname()[1]
        print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
