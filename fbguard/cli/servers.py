"""The servers under the demo's apps: uvicorn and werkzeug's, each in a thread on a free loopback port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from werkzeug.serving import WSGIRequestHandler, make_server

from fbguard.asgi import ASGIApp

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_HOST: Final = "127.0.0.1"  # never another: the demo is for this machine
_STARTING: Final = 10.0  # seconds
_POLL: Final = 0.05  # seconds until werkzeug's server notices a stop


class _Uvicorn(uvicorn.Server):
    """A server that says when it is ready, and when it never will be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.settled.set()


@contextmanager
def serve_asgi(app: ASGIApp) -> Generator[str]:
    """Serve an ASGI app by uvicorn while the block runs; yields its URL."""
    config = uvicorn.Config(
        app, lifespan="on", log_config=None, log_level="warning", access_log=False, ws="none"
    )
    server = _Uvicorn(config)
    with socket.create_server((_HOST, 0), backlog=128) as listener:
        # Inherited by connections, and nobody else sets it: head and body of an answer are two segments.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="fbguard-demo-uvicorn", daemon=True
        )
        thread.start()
        try:
            if not server.settled.wait(_STARTING) or not server.started:
                raise RuntimeError("uvicorn did not start")
            yield _url(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


class _QuietHandler(WSGIRequestHandler):
    """Writes no access log, and does not wait for ever for a client that says nothing."""

    timeout = 2.0  # seconds; a browser opens connections in advance, and a stop waits for them

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


@contextmanager
def serve_wsgi(app: WSGIApplication) -> Generator[str]:
    """Serve a WSGI app by werkzeug's threaded server while the block runs; yields its URL."""
    server: Any = make_server(_HOST, 0, app, threaded=True, request_handler=_QuietHandler)
    server.daemon_threads = False  # so that closing it joins the threads of its requests
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL,), name="fbguard-demo-werkzeug", daemon=True
    )
    thread.start()
    try:
        yield _url(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _url(port: int) -> str:
    return f"http://{_HOST}:{port}"
