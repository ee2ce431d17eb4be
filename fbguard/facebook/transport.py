"""The HTTP client that calls Graph: what is sent, how often, and how much is read."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from ssl import SSLCertVerificationError
from typing import Final, cast
from urllib.parse import urlencode, urlsplit

import httpx

from fbguard import events
from fbguard.core.secret import Secret
from fbguard.events import Tell
from fbguard.facebook.graph import MAX_REPLY, Reply
from fbguard.facebook.pools import AiohttpPool, Call, HttpxPool, Incoming, Pool
from fbguard.facebook.quiet import hide_tokens_in_logs, our_call, untraced

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "fbguard"}
_FORM: Final = {**_HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
_DEEPEST: Final = 16  # exceptions behind one exception
_PAUSE: Final = (0.05, 0.15)  # seconds before the second try

logger = logging.getLogger("fbguard")


class GraphClient:
    """A client for the loop it is made on.

    Time-outs are the caller's: one deadline around the whole call, which a drip of bytes does not extend.
    """

    def __init__(self, pool: Pool, tell: Tell = events.log) -> None:
        hide_tokens_in_logs()
        self._pool = pool
        self._tell = tell
        self._told: set[str] = set()  # of a certificate: hosts

    async def get(
        self, url: str, params: Mapping[str, str | Secret], *, credential: Secret, in_header: bool
    ) -> Reply | None:
        """Return what came back, without its body if that has more than 64 KiB; None when nothing came."""
        return await self._call(
            url,
            lambda: Call(
                "GET",
                _encoded(params if in_header else {**params, "access_token": credential}, f"{url}?"),
                _HEADERS,
                Secret(f"Bearer {credential.reveal()}") if in_header else None,
            ),
            MAX_REPLY,
        )

    async def fetch(self, url: str) -> Reply | None:
        """Return what a public address has, without its body if that has more than 64 KiB."""
        return await self._call(url, lambda: Call("GET", Secret(url), _HEADERS), MAX_REPLY)

    async def post(self, url: str, form: Secret, *, most: int) -> Reply | None:
        """Send an encoded form; return what came back, without its body if it has over ``most`` bytes."""
        return await self._call(url, lambda: Call("POST", Secret(url), _FORM, body=form), most)

    async def delete(self, url: str, params: Mapping[str, str], *, token: Secret) -> Reply | None:
        """Send a DELETE as the owner of ``token``; return what came back, None when nothing came."""
        return await self._call(
            url,
            lambda: Call("DELETE", _encoded(params, f"{url}?"), _HEADERS, Secret(f"Bearer {token.reveal()}")),
            MAX_REPLY,
        )

    async def _call(self, url: str, build: Callable[[], Call], most: int) -> Reply | None:
        """Send a request, once more if it surely was not answered, and read what comes back.

        Neither the request nor the library's exceptions may outlive this frame: their texts hold the URL.
        """
        under_way = our_call.set(True)
        refused_certificate: str | None = None
        try:
            for is_last in (False, True):
                try:
                    with untraced():
                        async with self._pool.send(build()) as incoming:
                            if self._told:
                                self._told.discard(_host_of(url))
                            return await _read(incoming, most)
                except Exception as exc:
                    if is_last or not self._pool.is_unanswered(exc):
                        raise
                    logger.debug("no connection to Graph: %s", type(exc).__name__)
                await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311 - so that not all come back at once
        except Exception as exc:  # noqa: BLE001 - whatever a transport raises, nobody has answered
            logger.debug("Graph did not answer: %s", type(exc).__name__)
            refused_certificate = _refusal_of_certificate(exc)
        finally:
            our_call.reset(under_way)
        self._tell_of_certificate(url, refused_certificate)
        return None

    def _tell_of_certificate(self, url: str, why: str | None) -> None:
        """Warn, once, of a certificate that is not accepted: no waiting helps.

        Not while the library's exception is handled: whoever is told would see it.
        """
        if why is not None and (host := _host_of(url)) not in self._told:
            self._told.add(host)
            self._tell(events.CertificateRefused(host=host, why=why))

    async def aclose(self) -> None:
        """Close the connections; on the loop they were opened on."""
        await self._pool.aclose()

    def abandon(self) -> None:
        """Forget the connections without touching them: they are the parent's, this is its child."""
        self._pool.abandon()


def client_maker(transport: object, tell: Tell = events.log) -> Callable[[], GraphClient]:
    """Return what makes a client for the running loop, over the ``transport`` option.

    TypeError if that is neither an ``httpx.AsyncBaseTransport`` nor a callable that returns one.
    """
    if transport is None:
        return lambda: GraphClient(AiohttpPool(), tell)
    if isinstance(transport, httpx.AsyncBaseTransport):
        return lambda: GraphClient(HttpxPool(transport), tell)
    is_other_class = isinstance(transport, type) and not issubclass(
        cast("type[object]", transport), httpx.AsyncBaseTransport
    )
    if is_other_class or not callable(transport):
        raise TypeError("transport must be an httpx.AsyncBaseTransport, or a callable that makes one a loop")

    def made() -> GraphClient:
        one: object = transport()
        if not isinstance(one, httpx.AsyncBaseTransport):
            raise TypeError("what transport() returns must be an httpx.AsyncBaseTransport")
        return GraphClient(HttpxPool(one), tell)

    return made


def _encoded(values: Mapping[str, str | Secret], before: str = "") -> Secret:
    """Return ``before`` and the values as a query or a form."""
    return Secret(
        before
        + urlencode(
            {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}
        )
    )


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _refusal_of_certificate(error: BaseException | None) -> str | None:
    """Tell why a certificate is not accepted, if that is behind an exception of a client."""
    for _ in range(_DEEPEST):
        error = getattr(error, "certificate_error", error)  # aiohttp's own is of that type, but has no text
        if error is None or isinstance(error, SSLCertVerificationError):
            break
        error = error.__cause__ or error.__context__
    return None if error is None else str(getattr(error, "verify_message", type(error).__name__))


async def _read(incoming: Incoming, most: int) -> Reply:
    """Read a reply; its body is left out if it is too long, or encoded although we asked for identity.

    A decoder could be made to unpack gigabytes from one small chunk; so none runs.
    """
    unread = Reply(incoming.status, b"", incoming.header)
    if (incoming.header("Content-Encoding") or "identity").strip().lower() != "identity":
        return unread
    body = bytearray()
    async for chunk in incoming.chunks:
        body += chunk
        if len(body) > most:
            return unread
    return unread._replace(body=bytes(body))
