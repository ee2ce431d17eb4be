"""Requests as bytes on a socket, so that the servers see them untouched, and answers as they come."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds until a server that says nothing has failed
_INTERIM = 200  # statuses below are not the answer yet, but for 101
_SWITCHING = 101


@dataclass(frozen=True)
class Reply:
    """One answer; status 0 is a connection that the server closed without a word."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case
    body: bytes = b""
    interim: tuple[int, ...] = ()  # the statuses of 1xx answers before it

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent twice"
        return values[0] if values else None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        """The reason of a refusal of ours; None is somebody else's answer."""
        return self.json["reason"] if self.header("content-type") == "application/problem+json" else None


class Connection:
    """A client's socket; reading has one deadline for the whole connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self._deadline = time.monotonic() + PATIENCE
        self._data = b""
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it had heard enough; what it said is still to be read
            self._socket.sendall(data)

    def _more(self) -> bool:
        """Read on; False at the end of the stream."""
        if self._ended:
            return False
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            data = self._socket.recv(65_536)
        except ConnectionError:
            data = b""
        self._data += data
        self._ended = not data
        return bool(data)

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, fewer only if the stream ends before."""
        while len(self._data) < size and self._more():
            pass
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def rest(self) -> bytes:
        """Return everything up to the end of the stream."""
        while self._more():
            pass
        return self.take(len(self._data))

    def read(self, *, bodiless: bool = False) -> Reply:
        """Return the next answer as its head frames it; ``bodiless`` is that to a HEAD."""
        interim: list[int] = []
        while True:
            while b"\r\n\r\n" not in self._data and self._more():
                pass
            head, found, _ = self._data.partition(b"\r\n\r\n")
            if not found:
                assert not head, f"half an answer: {head!r}"
                return Reply(0)
            self.take(len(head) + 4)
            line, *lines = head.decode("latin-1").split("\r\n")
            version, status = line.split(" ")[:2]
            assert version in {"HTTP/1.1", "HTTP/1.0"}, line
            if int(status) >= _INTERIM or int(status) == _SWITCHING:
                break
            interim.append(int(status))
        pairs = [entry.partition(":") for entry in lines]
        reply = Reply(int(status), tuple((name.lower(), value.strip()) for name, _, value in pairs))
        body = b"" if bodiless or int(status) in {101, 204, 304} else self._body(reply)
        return Reply(reply.status, reply.headers, body, tuple(interim))

    def _body(self, reply: Reply) -> bytes:
        if reply.header("transfer-encoding") == "chunked":
            return self._chunks()
        length = reply.header("content-length")
        if length is None:
            return self.rest()
        body = self.take(int(length))
        assert len(body) == int(length), "half a body"
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._data and self._more():
                pass
            line, _, _ = self._data.partition(b"\r\n")
            self.take(len(line) + 2)
            chunk = self.take(int(line, 16))
            assert self.take(2) == b"\r\n"
            if not chunk:
                return body
            body += chunk


def exchange(port: int, request: bytes) -> Reply:
    """Send one request that asks for the connection's end; return the one answer."""
    with Connection(port) as connection:
        connection.send(request)
        reply = connection.read(bodiless=request.startswith(b"HEAD "))
        assert connection.rest() == b"", "more than one answer"
        return reply
