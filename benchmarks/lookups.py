"""The ways to ask Graph about a token that :mod:`benchmarks.cold` compares: by hand, and by fbguard."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import httpx2
from httpx_aiohttp import AiohttpTransport

from benchmarks.graph import APP_ID
from fbguard import Guard

AsyncAsk = Callable[[str], Awaitable[str | None]]  # a token -> its user
SyncAsk = Callable[[str], str | None]

_SECRET: Final = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
_CREDENTIAL: Final = {"Authorization": f"Bearer {APP_ID}|{_SECRET}"}
_POOL: Final = 100  # connections: what all three clients open at most by default
_PATIENCE: Final = 60.0  # seconds; the default of 5 would end look-ups of the slow ones

SHIPPED: Final[int] = inspect.signature(Guard).parameters["max_in_flight"].default


@dataclass(frozen=True, slots=True)
class AsyncWay:
    """A way to look tokens up in coroutines; ``open`` takes Graph's base URL.

    ``max_in_flight`` is how many calls of Graph it makes at once at most, ``share`` the part of the
    tokens that it gets: the slowest one is not waited for.
    """

    name: str
    max_in_flight: int | None
    open: Callable[[str], AbstractAsyncContextManager[AsyncAsk]]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class SyncWay:
    """A way to look tokens up in threads."""

    name: str
    max_in_flight: int | None
    open: Callable[[str], AbstractContextManager[SyncAsk]]


class _Response(Protocol):
    def json(self) -> Any: ...


class _AsyncClient(Protocol):
    def get(self, url: str, /, *, params: Mapping[str, str]) -> Awaitable[_Response]: ...


class _Client(Protocol):
    def get(self, url: str, /, *, params: Mapping[str, str]) -> _Response: ...


def _user(reply: Any) -> str | None:
    """Return whose token it is, by the least that has to be read of a reply."""
    data = reply["data"]
    return data["user_id"] if data["is_valid"] is True and data["app_id"] == APP_ID else None


def _by(client: _AsyncClient) -> AsyncAsk:
    async def ask(token: str) -> str | None:
        return _user((await client.get("/v26.0/debug_token", params={"input_token": token})).json())

    return ask


def _by_sync(client: _Client) -> SyncAsk:
    return lambda token: _user(client.get("/v26.0/debug_token", params={"input_token": token}).json())


@asynccontextmanager
async def _httpx(url: str) -> AsyncGenerator[AsyncAsk]:
    async with httpx.AsyncClient(base_url=url, headers=_CREDENTIAL, timeout=_PATIENCE) as client:
        yield _by(client)


@asynccontextmanager
async def _httpx2(url: str) -> AsyncGenerator[AsyncAsk]:
    async with httpx2.AsyncClient(base_url=url, headers=_CREDENTIAL, timeout=_PATIENCE) as client:
        yield _by(client)


@asynccontextmanager
async def _httpx_aiohttp(url: str) -> AsyncGenerator[AsyncAsk]:
    async with httpx.AsyncClient(
        base_url=url, headers=_CREDENTIAL, timeout=_PATIENCE, transport=AiohttpTransport()
    ) as client:
        yield _by(client)


@asynccontextmanager
async def _client_per_look_up(url: str) -> AsyncGenerator[AsyncAsk]:
    async def ask(token: str) -> str | None:
        async with _httpx(url) as ask_once:
            return await ask_once(token)

    yield ask


def _guard(url: str, **options: Any) -> Guard:
    return Guard(app_id=APP_ID, app_secret=_SECRET, graph_url=url, **options)


def _guarded(**options: Any) -> Callable[[str], AbstractAsyncContextManager[AsyncAsk]]:
    @asynccontextmanager
    async def open_guard(url: str) -> AsyncGenerator[AsyncAsk]:
        async with _guard(url, **options) as guard:

            async def ask(token: str) -> str | None:
                return (await guard.acheck(token)).user_id

            yield ask

    return open_guard


@contextmanager
def _httpx_sync(url: str) -> Generator[SyncAsk]:
    with httpx.Client(base_url=url, headers=_CREDENTIAL, timeout=_PATIENCE) as client:
        yield _by_sync(client)


@contextmanager
def _httpx2_sync(url: str) -> Generator[SyncAsk]:
    with httpx2.Client(base_url=url, headers=_CREDENTIAL, timeout=_PATIENCE) as client:
        yield _by_sync(client)


@contextmanager
def _guarded_sync(url: str) -> Generator[SyncAsk]:
    with _guard(url) as guard:
        yield lambda token: guard.check(token).user_id


def batching(max_in_flight: int) -> AsyncWay:
    """Return fbguard with batches, so many of them at once."""
    return AsyncWay(BATCH, max_in_flight, _guarded(batch=True, max_in_flight=max_in_flight))


def why_no_batches() -> str | None:
    """Return why this version of fbguard has no batches, None if it has."""
    try:
        _guard("http://127.0.0.1:1", batch=True).close()
    except ValueError as exc:
        return str(exc)
    return None


BASE: Final = "httpx"  # what the others of a group are compared with
FBGUARD: Final = "fbguard"
BATCH: Final = "fbguard batch=True"
NEW_CLIENTS: Final = "httpx, new client each"

ASYNC_WAYS: Final = (
    AsyncWay(BASE, _POOL, _httpx),
    AsyncWay("httpx2", _POOL, _httpx2),
    AsyncWay("httpx-aiohttp", _POOL, _httpx_aiohttp),
    AsyncWay(FBGUARD, SHIPPED, _guarded()),
)
NEW_CLIENT: Final = AsyncWay(NEW_CLIENTS, None, _client_per_look_up, share=0.05)
SYNC_WAYS: Final = (
    SyncWay(BASE, _POOL, _httpx_sync),
    SyncWay("httpx2", _POOL, _httpx2_sync),
    SyncWay(FBGUARD, SHIPPED, _guarded_sync),
)
