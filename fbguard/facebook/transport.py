"""The HTTP client that calls Graph, and what it may write into logs."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from fbguard.core.secret import Secret
from fbguard.facebook.graph import Reply

MAX_REPLY: Final = 64 * 1024  # bytes; a debug_token reply has a few hundred
MAX_CONNECTIONS: Final = 100

_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PAUSE: Final = (0.05, 0.15)  # seconds before the second try

logger = logging.getLogger("fbguard")


class GraphClient:
    """A client for the loop it is made on: keep-alive, no cookies, no redirects, no environment.

    ``transport`` replaces the pool (tests, proxies, private CAs). Time-outs are the caller's: one
    deadline around the whole call, which a drip of bytes does not extend.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        hide_tokens_in_logs()
        self._connector: aiohttp.TCPConnector | None = None
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(client=self._open_session, verify=_tls())
            if transport is None
            else transport,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "fbguard"},
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - see above
        )

    def _open_session(self) -> aiohttp.ClientSession:
        self._connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=_tls())
        return aiohttp.ClientSession(
            connector=self._connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    async def get(
        self, url: str, params: Mapping[str, str | Secret], *, credential: Secret, in_header: bool
    ) -> Reply | None:
        """Return what came back (at most 64 KiB of it), or None when no such reply came.

        Tries again, once, where no connection came about: such a call surely was not answered.
        Neither the request nor the client's exceptions may outlive this frame: their texts hold the URL.
        """
        under_way = our_call.set(True)
        try:
            for last in (False, True):
                try:
                    return await self._get(url, params, credential, in_header)
                except _UNSENT as exc:
                    logger.debug("no connection to Graph: %s", type(exc).__name__)
                    if last:
                        return None
                await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311 - so that not all come back at once
        except Exception as exc:  # noqa: BLE001 - whatever a transport raises, nobody has answered
            logger.debug("Graph did not answer: %s", type(exc).__name__)
        finally:
            our_call.reset(under_way)
        return None

    async def _get(
        self, url: str, params: Mapping[str, str | Secret], credential: Secret, in_header: bool
    ) -> Reply | None:
        response = await self._client.send(
            self._client.build_request(
                "GET",
                url,
                params={
                    name: value.reveal() if isinstance(value, Secret) else value
                    for name, value in (
                        params if in_header else {**params, "access_token": credential}
                    ).items()
                },
                headers={"Authorization": f"Bearer {credential.reveal()}"} if in_header else None,
            ),
            stream=True,
        )
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        return None if body is None else Reply(response.status_code, body, response.headers.get)

    async def aclose(self) -> None:
        """Close the connections; on the loop they were opened on."""
        await self._client.aclose()

    def abandon(self) -> None:
        """Forget the connections without touching them: they are the parent's, this is its child.

        A connector that is collected takes its sockets out of the selector, and a forked child shares
        that with its parent (epoll), whose connections would never be heard of again.
        """
        if self._connector is not None:
            # The one way to keep its __del__ still.
            self._connector._closed = True  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def check_transport(transport: object) -> httpx.AsyncBaseTransport | None:
    """Return the ``transport`` option, or raise TypeError for what an AsyncClient cannot use."""
    if transport is not None and not isinstance(transport, httpx.AsyncBaseTransport):
        raise TypeError("transport must be an httpx.AsyncBaseTransport")
    return transport


@cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context of this process; certificates of the environment do not count."""
    return httpx.create_ssl_context(trust_env=False)


async def _read(response: httpx.Response) -> bytes | None:
    """Return the body, or None if it is too long, or encoded although we asked for identity.

    A decoder could be made to unpack gigabytes from one small chunk; so none runs.
    """
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_REPLY:
            return None
    return bytes(body)


# Query parameters that hold a token or a secret.
_SECRET_PARAMETER: Final = re.compile(
    r"((?:input_token|access_token|client_secret|fb_exchange_token|appsecret_proof)=)[^&\s\"']+"
)
_LIBRARY_LOGGERS: Final = (  # of clients: their records name the URL
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "aiohttp.client",
    "aiohttp.internal",
    "httpcore.socks",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpcore2.socks",
)
_WIRE_LOGGERS: Final = ("hpack.hpack", "hpack.table")  # of HTTP/2: theirs hold every header, packed, too
our_call: Final[ContextVar[bool]] = ContextVar("fbguard_our_call", default=False)  # is one under way?


class _HideTokens(logging.Filter):
    """Takes tokens out of the request lines that the HTTP libraries log (httpx does at INFO)."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _hide(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_hide(value) for value in record.args)
        elif record.args:
            record.args = {key: _hide(value) for key, value in record.args.items()}
        return True


def _hide(value: Any) -> Any:
    """Return the value, or its text without secrets where its text has some."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    hidden = _SECRET_PARAMETER.sub(r"\1***", text)
    return value if hidden == text else hidden


class _BeSilent(logging.Filter):
    """Drops what a library logs about calls with our credentials; other clients keep their records."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not our_call.get()


_HIDE_TOKENS: Final = _HideTokens()
_BE_SILENT: Final = _BeSilent()


def hide_tokens_in_logs() -> None:
    """Take tokens and proofs out of what HTTP clients of this process log; again does no harm."""
    for name in _LIBRARY_LOGGERS:
        logging.getLogger(name).addFilter(_HIDE_TOKENS)  # the same filter twice is one
    for name in _WIRE_LOGGERS:
        logging.getLogger(name).addFilter(_BE_SILENT)
