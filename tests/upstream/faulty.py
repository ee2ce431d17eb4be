"""A server on loopback, of plain sockets, that answers Graph's calls with every fault it is told to.

What it does with a request is a script: steps that it takes one after the other (:mod:`.scripts` has
many). It records every byte it was sent. Its end wakes whatever waits, so nothing hangs on it.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.support import PATIENCE


class End(Enum):
    """How the server ends a connection of its own accord."""

    FIN = "orderly"
    RST = "reset"


Step = bytes | float | End  # bytes to send, seconds to wait (inf: until the peer hangs up), or the end
Script = Callable[[], Iterable[Step]]

_NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST, and drops what is not sent yet
_ESTABLISHED = 1  # the first byte of Linux's TCP_INFO


class _Over(Exception):  # noqa: N818 - it is no error
    """The peer has hung up, the script has, or the server is at its end."""


class FaultyServer:
    """Listens on a free port of loopback while it is entered; one thread for each connection.

    ``default`` answers, unless ``scripts`` has one for the request's ``input_token``; ``probe`` answers
    requests without one. ``tls`` makes it an https server. A ``mute`` one accepts, and neither answers nor
    shakes hands.
    """

    def __init__(self, default: Script, *, tls: ssl.SSLContext | None = None, mute: bool = False) -> None:
        self.default = default
        self.probe = default
        self.scripts: dict[str, Script] = {}
        self.requests: list[bytes] = []  # heads, as they came
        self.connections = 0
        self.most_open = 0
        self.sent = 0  # bytes
        self._tls = tls
        self._mute = mute
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._over, self._end = socket.socketpair()  # closing the one makes the other readable
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Return what ``graph_url`` is to be."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[str]:
        """Return the tokens that were asked about, in order."""
        return [token for token in map(_token_of, list(self.requests)) if token is not None]

    @property
    def probes(self) -> int:
        """Return how many requests were about no token."""
        return len(self.requests) - len(self.calls)

    @property
    def open(self) -> int:
        """Return how many connections are open now."""
        return len(self._open)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that sends to nobody
        for thread in self._threads:  # the first is the one that starts the others
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the server hangs"
        self._listener.close()
        self._over.close()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(_Over):
            while True:
                self._wait_to_read(self._listener, math.inf)
                connection, _ = self._listener.accept()
                connection.settimeout(PATIENCE)
                if self._tls is not None and not self._mute:
                    connection = self._tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
                with self._lock:
                    self.connections += 1
                    self._open.add(connection)
                    self.most_open = max(self.most_open, sum(map(_is_established, self._open)))
                self._start(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            if self._mute:
                self._wait(connection, math.inf)
            while True:
                self._play(connection, self._script_for(self._read(connection)))
        except (_Over, OSError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _script_for(self, request: bytes) -> Script:
        self.requests.append(request)
        token = _token_of(request)
        return self.probe if token is None else self.scripts.get(token, self.default)

    def _play(self, connection: socket.socket, script: Script) -> None:
        for step in script():
            if isinstance(step, bytes):
                connection.sendall(step)
                self.sent += len(step)
            elif isinstance(step, End):
                if step is End.RST:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                raise _Over
            else:
                self._wait(connection, step)

    def _wait(self, connection: socket.socket, seconds: float) -> None:
        """Wait, unless the peer hangs up meanwhile; it has no other reason to send anything."""
        due = time.monotonic() + seconds
        while (left := due - time.monotonic()) > 0:
            if self._wait_to_read(connection, left) and not connection.recv(65_536):
                raise _Over

    def _read(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            self._wait_to_read(connection, math.inf)
            piece = connection.recv(65_536)
            if not piece:
                raise _Over
            request += piece
        return request

    def _wait_to_read(self, one: socket.socket, seconds: float) -> bool:
        """Tell whether there is something to read within the seconds; raises when the server ends."""
        ready, _, _ = select.select([one, self._over], [], [], None if math.isinf(seconds) else seconds)
        if self._over in ready:
            raise _Over
        return bool(ready)


def _is_established(connection: socket.socket) -> bool:
    """Tell whether the peer has not hung up, which the connection's own thread may not have heard of yet."""
    if not hasattr(socket, "TCP_INFO"):
        return True
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return False


def _token_of(request: bytes) -> str | None:
    target = request.split(b" ", 2)[1].decode("ascii")
    return parse_qs(urlsplit(target).query).get("input_token", [None])[0]


def head_of(request: bytes) -> tuple[str, dict[str, list[str]]]:
    """Return a request's target, and the values of its headers by their names in lower case."""
    line, *fields = request.decode("ascii").split("\r\n")[:-2]
    headers: dict[str, list[str]] = {}
    for field in fields:
        name, _, value = field.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    return line.split(" ")[1], headers


class BlackHole:
    """A port of loopback to which no connection comes about: its backlog is full, and nobody accepts.

    ``works`` is False where the operating system does not drop what is too much.
    """

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._stuffing: list[socket.socket] = []
        self.works = False

    def __enter__(self) -> Self:
        for _ in range(8):
            one = socket.socket()
            self._stuffing.append(one)
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            if not select.select([], [one], [], 0.1)[1]:
                self.works = True
                break
        return self

    def __exit__(self, *exc_info: object) -> None:
        for one in [*self._stuffing, self._listener]:
            one.close()
