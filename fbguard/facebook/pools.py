"""Connections to Graph: aiohttp's by default, or an httpx transport that the user gives. Of one event loop.

aiohttp is spoken to itself: through the httpx API a look-up costs twice the time, and httpx's own pool
is quadratic in open connections and loses slots when a call is cancelled. A pool knows no cookies, no
redirects and no environment, and runs no decoder; whoever calls limits the number of requests.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import Final, NamedTuple, Protocol

import aiohttp
import httpx
from yarl import URL

from fbguard.core.secret import Secret


class Call(NamedTuple):
    """A request: ``url`` with its query, ``body`` of a form. What may hold a secret is one."""

    method: str
    url: Secret
    headers: Mapping[str, str]
    authorization: Secret | None = None
    body: Secret | None = None

    def all_headers(self) -> dict[str, str]:
        """Return the headers, with the credential."""
        if self.authorization is None:
            return {**self.headers}
        return {**self.headers, "Authorization": self.authorization.reveal()}

    def content(self) -> bytes | None:
        """Return the body."""
        return None if self.body is None else self.body.reveal().encode()


class Incoming(NamedTuple):
    """The beginning of a response, its headers by name, and its body as it comes."""

    status: int
    header: Callable[[str], str | None]
    chunks: AsyncIterator[bytes]


class Pool(Protocol):
    """What :class:`fbguard.facebook.transport.GraphClient` sends its requests through."""

    def send(self, call: Call) -> AbstractAsyncContextManager[Incoming]:
        """Send a request and give the beginning of its response; raises what its library raises."""
        ...

    def is_unanswered(self, error: Exception) -> bool:
        """Tell whether the request that failed so surely was not answered, and may be sent again.

        No connection came about, or a kept one that Graph had closed meanwhile was taken for a living one
        (RFC 9112 section 9.3.1).
        """
        ...

    async def aclose(self) -> None:
        """Close the connections; on the loop they were opened on."""
        ...

    def abandon(self) -> None:
        """Forget the connections without touching them: they are the parent's, this is its child."""
        ...


class AiohttpPool:
    """Connections of aiohttp's, kept alive."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        ours = _noting_reuse()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
            trace_configs=[ours],
        )
        # What watches all sessions of a process (tracers) has added its own, and would note the URL.
        session._trace_configs = [ours]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        # The one way to keep it from sending a GET again that Graph may have answered: GraphClient decides.
        session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return session

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncGenerator[Incoming]:
        """Send a request and give the beginning of its response; raises aiohttp.ClientError or OSError."""
        if self._session is None:
            self._session = self._open()
        _is_reused.set(False)
        async with self._session.request(
            call.method,
            URL(call.url.reveal(), encoded=True),
            headers=call.all_headers(),
            data=call.content(),
            allow_redirects=False,
        ) as response:
            _is_reused.set(False)  # it is answered, whatever becomes of the rest
            yield Incoming(response.status, response.headers.get, response.content.iter_any())

    def is_unanswered(self, error: Exception) -> bool:
        """Tell whether the request that failed so surely was not answered."""
        return isinstance(error, aiohttp.ClientConnectorError) or (
            isinstance(error, aiohttp.ClientConnectionError) and _is_reused.get()
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def abandon(self) -> None:
        """Forget the connections in a forked child.

        A connector that is collected takes its sockets out of the selector, and a forked child shares
        that with its parent (epoll), whose connections would never be heard of again.
        """
        if self._session is not None and self._session.connector is not None:
            # The one way to keep its __del__ still, and the session's.
            self._session.connector._closed = True  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


_is_reused: Final[ContextVar[bool]] = ContextVar("fbguard_is_reused", default=False)  # is the connection?


def _noting_reuse() -> aiohttp.TraceConfig:
    """Return what notes whether a request went out on a connection that had served others before."""
    trace = aiohttp.TraceConfig()

    async def reused(*_: object) -> None:
        _is_reused.set(True)

    trace.on_connection_reuseconn.append(reused)
    return trace


@cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context of this process; certificates of the environment do not count."""
    return httpx.create_ssl_context(trust_env=False)


_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NO_TIME_OUTS: Final = {"timeout": {"connect": None, "read": None, "write": None, "pool": None}}


class HttpxPool:
    """The user's own transport (tests, proxies, private CAs).

    Requests go to it as they are. An ``httpx.AsyncClient`` would add cookies, redirects and an INFO record
    with the whole URL, none of which is wanted.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncGenerator[Incoming]:
        """Send a request and give the beginning of its response; raises what the transport raises."""
        response = await self._transport.handle_async_request(
            httpx.Request(
                call.method,
                call.url.reveal(),
                headers=call.all_headers(),
                content=call.content(),
                extensions=_NO_TIME_OUTS,
            )
        )
        try:
            yield Incoming(response.status_code, response.headers.get, _chunks(response))
        finally:
            await response.aclose()

    def is_unanswered(self, error: Exception) -> bool:
        """Tell whether the request that failed so surely was not answered.

        httpx-aiohttp calls every loss of a connection a ConnectTimeout: there the cause tells.
        """
        cause = error.__cause__
        if isinstance(cause, aiohttp.ClientConnectionError):
            return isinstance(cause, aiohttp.ClientConnectorError)
        return isinstance(error, _UNSENT)

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()

    def abandon(self) -> None:
        """Leave the transport to whoever made it."""


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    if response.is_stream_consumed:  # it was made of bytes, as httpx.MockTransport's are
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk
