"""The debugger on a port of this machine, by the standard library's server."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from fbguard.debugger.rules import DebuggerRules
from fbguard.guard import Guard
from fbguard.mounts import MountedWSGI

_HOST: Final = "127.0.0.1"  # there is no option for another one
_POLL: Final = 0.05  # seconds until a stop is noticed


@contextmanager
def serving(guard: Guard, port: int) -> Generator[str]:
    """Serve while the block runs; gives the URL. Port 0 takes a free one; OSError for one that is taken."""
    with _Server((_HOST, port), _Handler) as server:
        names = frozenset(f"{name}:{server.server_port}" for name in (_HOST, "localhost"))
        server.set_app(MountedWSGI(DebuggerRules(guard, names)))
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL,), name="fbguard-debugger", daemon=True
        )
        thread.start()
        try:
            yield f"http://{_HOST}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer makes, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name = _HOST
        self.server_port = int(self.socket.getsockname()[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = 30  # seconds that a browser may be silent

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing."""
