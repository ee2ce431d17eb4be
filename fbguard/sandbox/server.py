"""The sandbox on a loopback port: Graph and the control API over HTTP/1.1, standard library only."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from fbguard.sandbox import arguments
from fbguard.sandbox.control import control, is_control
from fbguard.sandbox.wire import Outcome, Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Generator

    from fbguard.sandbox.sandbox import Sandbox

_HOST = "127.0.0.1"  # never another: tokens and controls are for this machine
_MAX_BODY = 1 << 20
_POLL = 0.05  # seconds until a stop is noticed
_GRACE = 5.0  # seconds that a stop waits for a request under way
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class SandboxServer(ThreadingHTTPServer):
    """Serves one sandbox on ``127.0.0.1``; bound when made, served by one of two ways.

    ``serve_forever()`` blocks until ``shutdown()`` is called from another thread or an exception
    such as KeyboardInterrupt ends it; ``running()`` serves in the background while its block runs.
    Leaving ``with SandboxServer(...)`` ends every connection, idle ones too.
    """

    daemon_threads = True
    request_queue_size = 1024  # the default of 5 turns a burst of clients away

    def __init__(self, sandbox: Sandbox, port: int = 0) -> None:
        self.sandbox = sandbox
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__((_HOST, arguments.integer("port", port, 0, 65_535)), _Handler)

    @property
    def url(self) -> str:
        """Where it listens: ``http://127.0.0.1:PORT``."""
        return f"http://{_HOST}:{self.server_port}"

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        """Serve in a background thread while the block runs."""
        thread = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="fbguard-sandbox", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer makes, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = _HOST
        self.server_port = int(self.socket.getsockname()[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, and remember both for the end."""
        work = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=self.daemon_threads
        )
        with self._lock:
            self._connections[request] = work
        work.start()

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        super().shutdown_request(request)
        with self._lock:
            self._connections.pop(request, None)

    def server_close(self) -> None:
        """Stop listening, end all connections and wait until their threads are gone."""
        self.stopping.set()
        super().server_close()
        with self._lock:
            remaining = dict(self._connections)
        for connection in remaining:
            # Wakes a thread that waits for the next request of a kept-alive connection.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for work in remaining.values():
            work.join(_GRACE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away; report everything else as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one segment

    def _serve(self) -> None:
        body = self._body()
        if isinstance(body, Reply):
            self.close_connection = True  # what is left of the request cannot be told from the next one
            self._send(body)
            return
        request = Request.of(self.command, self.path, self.headers.items(), body)
        outcome = self._outcome(request)
        if outcome.delay:
            self._server.stopping.wait(outcome.delay)
        if outcome.reply is None:
            self.close_connection = True
        else:
            self._send(outcome.reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815 - http.server's names

    @property
    def _server(self) -> SandboxServer:
        if not isinstance(self.server, SandboxServer):
            raise TypeError("this handler serves a SandboxServer only")
        return self.server

    def _outcome(self, request: Request) -> Outcome:
        sandbox = self._server.sandbox
        if is_control(request.path):
            return Outcome(control(sandbox, request))
        return sandbox.handle(request)

    def _body(self) -> bytes | Reply:
        """Return the body, or the reply that refuses it."""
        if "Transfer-Encoding" in self.headers:
            return json_reply({"error": "send a Content-Length"}, HTTPStatus.LENGTH_REQUIRED)
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal()):
            return json_reply({"error": "Content-Length is not a number"}, HTTPStatus.BAD_REQUEST)
        if int(length) > _MAX_BODY:
            return json_reply({"error": "the body is too large"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the client left in the middle of its request")
        return body

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        bare = reply.status in _WITHOUT_BODY
        for name, value in reply.headers if bare else reply.sized():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if not bare and self.command != "HEAD":
            self.wfile.write(reply.body)

    def version_string(self) -> str:
        """Return the Server header."""
        return "fbguard-sandbox"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing: a request line holds tokens. The sandbox has its own log, without them."""
