"""A server on loopback that does to its connections what it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Self

from tests.support import PATIENCE, valid

Script = Callable[[bytes], Iterable[bytes]]


def reply(body: bytes = valid().body, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """Accepts connections on loopback; for each request sends what ``script`` gives."""

    def __init__(self, script: Script = lambda _request: [reply()]) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.hung_up = threading.Event()
        self.over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self.over.is_set():
                connection.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                while request := self._read(connection):
                    self.requests.append(request)
                    for piece in self.script(request):
                        connection.sendall(piece)
            except OSError:
                pass
        self.hung_up.set()

    def _read(self, connection: socket.socket) -> bytes:
        connection.settimeout(0.05)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            try:
                piece = connection.recv(65_536)
            except TimeoutError:
                if self.over.is_set():
                    return b""
                continue
            if not piece:
                return b""
            request += piece
        connection.settimeout(PATIENCE)
        return request

    def heads(self) -> list[tuple[str, dict[str, list[str]]]]:
        """Return (target, headers) of each request."""
        found = []
        for request in self.requests:
            line, *fields = request.decode("ascii").split("\r\n")[:-2]
            headers: dict[str, list[str]] = {}
            for field in fields:
                name, _, value = field.partition(": ")
                headers.setdefault(name.lower(), []).append(value)
            found.append((line.split(" ")[1], headers))
        return found
