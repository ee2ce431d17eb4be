"""A proxy on loopback that speaks CONNECT and absolute-form, and a TLS end before any HTTP server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.raw import HOST, PATIENCE

DATA = Path(__file__).parents[1] / "data"
CA = DATA / "tls_ca.pem"
_CERTIFICATE = DATA / "tls_server.pem"  # for 127.0.0.1 and localhost, by that CA


class Relay:
    """Accepts connections and passes their bytes on; each in two threads of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []  # request lines, as the proxy sees them
        self.broken_handshakes = 0
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @contextmanager
    def running(self) -> Generator[str]:
        self._thread.start()
        try:
            yield f"{HOST}:{self.port}"
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(PATIENCE)
            self._listener.close()
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            ends = self.meet(client)
            if ends is not None:
                self._open += ends
                back = threading.Thread(target=_pump, args=ends[::-1], daemon=True)
                back.start()
                _pump(*ends)
                back.join(PATIENCE)
                for one in ends:
                    one.close()

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        """Return the client's end and the other one."""
        raise NotImplementedError


class Proxy(Relay):
    """Records the line of each first request and goes where it says."""

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65_536)
            if not piece:
                return None
            head += piece
        line, rest = head.split(b"\r\n", 1)
        self.lines.append(line.decode())
        method, target, version = line.decode().split(" ")
        if method == "CONNECT":
            host, _, port = target.partition(":")
            upstream = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return client, upstream
        url = urlsplit(target)
        upstream = socket.create_connection((url.hostname or "", url.port or 80))
        origin_form = f"{method} {url.path}?{url.query} {version}\r\n"
        # One request a connection: the next one would need its own line rewritten.
        upstream.sendall(origin_form.encode() + b"Connection: close\r\n" + rest)
        return client, upstream


class TlsEnd(Relay):
    """Ends TLS with a certificate of the private CA and passes plain HTTP on."""

    def __init__(self, behind: str) -> None:
        super().__init__()
        self._behind = urlsplit(behind).port or 80
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(_CERTIFICATE)

    def meet(self, client: socket.socket) -> tuple[socket.socket, socket.socket] | None:
        try:
            inner = self._tls.wrap_socket(client, server_side=True)
        except OSError:
            self.broken_handshakes += 1
            return None
        return inner, socket.create_connection((HOST, self._behind))


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
