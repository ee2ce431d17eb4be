"""The sandbox behind httpx: one transport for ``httpx.Client`` and ``httpx.AsyncClient``.

The only module of the sandbox that imports httpx.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx

from fbguard.sandbox.wire import Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Callable


class SandboxTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers every request from the sandbox, whatever its host, without a socket.

    It belongs to no event loop and closing a client leaves it open, so any number of clients,
    loops and threads may share it. A delay beyond the client's read timeout is an
    ``httpx.ReadTimeout`` when that time is over; a dropped connection an ``httpx.RemoteProtocolError``.
    """

    def __init__(self, handle: Callable[[Request], Outcome]) -> None:
        self._handle = handle

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a sync client."""
        outcome = self._handle(_read(request, request.read()))
        time.sleep(_patience(request, outcome))
        return _response(request, outcome)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer an async client."""
        outcome = self._handle(_read(request, await request.aread()))
        # Even without a delay: other tasks get their turn here, as they do on a network.
        await asyncio.sleep(_patience(request, outcome))
        return _response(request, outcome)


def _read(request: httpx.Request, body: bytes) -> Request:
    return Request.of(request.method, request.url.raw_path.decode("ascii"), request.headers.items(), body)


def _read_timeout(request: httpx.Request) -> float | None:
    limit = request.extensions.get("timeout", {}).get("read")
    return limit if isinstance(limit, int | float) else None


def _patience(request: httpx.Request, outcome: Outcome) -> float:
    """Return how long the client waits: the delay, or its read timeout when that is shorter."""
    limit = _read_timeout(request)
    return outcome.delay if limit is None else min(outcome.delay, limit)


def _response(request: httpx.Request, outcome: Outcome) -> httpx.Response:
    if outcome.delay > _patience(request, outcome):
        raise httpx.ReadTimeout("The read operation timed out", request=request)
    reply = outcome.reply
    if reply is None:
        message = "Server disconnected without sending a response."
        raise httpx.RemoteProtocolError(message, request=request)
    # A stream, not `content`: the client reads and decodes it itself, as it does with a socket.
    stream = httpx.ByteStream(reply.body)
    return httpx.Response(reply.status, headers=list(reply.sized()), stream=stream, request=request)
