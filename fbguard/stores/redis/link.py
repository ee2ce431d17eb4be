"""One event loop's connections to Redis: for commands, and for listening. redis-py does the talking."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final, cast

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from fbguard.core.errors import StoreUnavailable
from fbguard.core.loops import closing_with_loop
from fbguard.stores.redis.address import Address
from fbguard.stores.redis.scripts import SAY, Script

logger = logging.getLogger("fbguard")

_PATIENCE: Final = 1.0  # seconds for a connection, and for an answer on it
_NODES: Final = 3  # of a cluster, or sentinels, of which so many may say nothing within that time
_AT_ONCE: Final = 32  # commands, so connections, of one loop
_BEAT: Final = 0.5  # seconds between two signs of life that the listener sends to itself ...
_SILENCE: Final = 1.5  # ... and without any, after which its link is lost
# AttributeError: in a cluster redis-py closes connections that other tasks are just about to use.
_FAULTS: Final = (
    RedisError,
    RedisClusterException,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    AttributeError,
)

_inherited: Final[list[Link]] = []


class Link:
    """Commands of one loop at one address; for tasks of that loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # Once more, at once: of a kept connection it may turn out only now that the server has closed it.
        # All scripts may run twice.
        self._client = _client(address, retries=1)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._start = asyncio.Lock()
        self._is_started = address.kind != "cluster"
        self._is_abandoned = False
        self._open = closing_with_loop(self._aclose)

    async def run(self, script: Script, count: str, *args: str | bytes | int) -> Any:
        """Run a script with its space's count; raises StoreUnavailable for whatever went wrong."""
        try:
            async with asyncio.timeout(_PATIENCE), self._turns:
                await self._learn_nodes()
                return await self._run(script, count, *args)
        except _FAULTS as fault:
            logger.debug("the store: %s", type(fault).__name__)
        raise StoreUnavailable  # out here, without the client's exception

    async def _learn_nodes(self) -> None:
        """Ask a cluster for its nodes, once: by each of the first commands they would be closed again."""
        if not self._is_started:
            async with self._start:
                if not self._is_started:
                    await self._client.initialize()
                    self._is_started = True

    async def _run(self, script: Script, count: str, *args: str | bytes | int) -> Any:
        try:
            return await self._client.evalsha(script.sha, 1, count, *args)
        except NoScriptError:  # a new server, or one that was restarted
            return await self._client.eval(script.text, 1, count, *args)

    async def news(self, channel: str, count: str) -> AsyncGenerator[bytes]:
        """Give ``b""``, then what is published on a channel; StoreUnavailable when anything may be missed."""
        listener = _Listener(self, channel, count)
        try:
            await listener.subscribe(await self._listening_client(count))
            yield b""
            while True:
                said = await listener.hear()
                if said is not None:
                    yield said
        finally:
            await listener.aclose()

    async def _listening_client(self, count: str) -> Any:
        """Return a client of one connection that is never made anew in silence.

        In a cluster it is of the node that runs the space's scripts: what is published there reaches others
        over the cluster's own links, which may be cut while all seems well.
        """
        if self._address.kind != "cluster":
            return _client(self._address, retries=0)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._learn_nodes()
            node = self._client.get_node_from_key(count)
            return Redis(host=node.host, port=node.port, **_options(self._address, retries=0))
        except _FAULTS as fault:
            logger.debug("the store: %s", type(fault).__name__)
        raise StoreUnavailable

    async def aclose(self) -> None:
        """Close the connections."""
        await self._open.aclose()

    async def _aclose(self) -> None:
        if not self._is_abandoned:
            await _close(self._client)

    def abandon(self) -> None:
        """Forget the connections in a forked child, without touching them.

        What is collected closes its transport, which takes the parent's sockets out of the selector that
        both share (epoll): so nothing is.
        """
        self._is_abandoned = True
        _inherited.append(self)


class _Listener:
    """A subscription that knows when it may have missed something.

    redis-py makes a lost connection anew and subscribes again, without a word: so a second confirmation is
    the end. And a link can be dead without having ended: so the listener says something to itself now and
    then, on the way that news take, and hears it or is lost. So it is when the server has lost its data.
    """

    def __init__(self, link: Link, channel: str, count: str) -> None:
        self._link = link
        self._channel = channel
        self._count = count
        self._beat = f"{channel}:{uuid.uuid4().hex}"
        self._said = self._heard = time.monotonic()
        self._start: bytes | None = None  # of the space's count
        self._client: Any = None
        self._pubsub: Any = None

    async def subscribe(self, client: Any) -> None:
        self._client = client
        self._pubsub = client.pubsub()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._pubsub.subscribe(self._channel, self._beat)
        except _FAULTS as fault:
            logger.debug("the store: %s", type(fault).__name__)
            self._heard = -_SILENCE
        confirmed = 0
        while confirmed < 2:  # noqa: PLR2004 - channels
            self._said = time.monotonic()  # not yet: it is only waited for
            confirmed += (await self._next({"subscribe"}))[0] != b""
        await self._say()

    async def _say(self) -> None:
        self._said = time.monotonic()
        start: object = None
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._heard + _SILENCE - self._said, 0.0)):
                start = await self._link.run(SAY, self._count, "", self._beat, b"")
        if not isinstance(start, bytes) or self._start not in {None, start}:
            raise StoreUnavailable
        self._start = start

    async def hear(self) -> bytes | None:
        """Wait for the next message, or the next beat (None)."""
        if time.monotonic() - self._said >= _BEAT:
            await self._say()
        channel, said = await self._next({"message"})
        if channel == self._beat.encode():
            self._heard = time.monotonic()
            return None
        return said

    async def _next(self, kinds: set[str]) -> tuple[bytes, bytes | None]:
        """Return channel and content of the next message; nothing of both if there was none for a beat."""
        now = time.monotonic()
        left = self._heard + _SILENCE - now
        if left > 0:
            try:
                async with asyncio.timeout(left):  # it may connect anew, too
                    message = await self._pubsub.get_message(timeout=max(self._said + _BEAT - now, 0.001))
            except _FAULTS as fault:
                logger.debug("the store: %s", type(fault).__name__)
            else:
                if message is None:
                    return b"", None
                if message["type"] in kinds:
                    data = message["data"]
                    return message["channel"], data if isinstance(data, bytes) else b""
        raise StoreUnavailable

    async def aclose(self) -> None:
        for one in (self._pubsub, self._client):
            if one is not None:
                await _close(one)


def _options(address: Address, retries: int) -> dict[str, Any]:
    return {
        "username": address.username,
        "password": None if address.password is None else address.password.reveal(),
        **_time_limits(address),
        "retry": Retry(NoBackoff(), retries),
        "protocol": 2,
        **address.options,
    }


def _time_limits(address: Address) -> dict[str, float | None]:
    """Return those of redis-py, within ours.

    It asks the next node, or for a new map of the cluster, where its own have run out. They are
    asyncio.wait_for's, which on Python 3.11 may swallow a cancellation; so none where nothing hangs on them:
    whoever closes a guard ends its listening.
    """
    if address.kind == "single":
        return {"socket_timeout": None, "socket_connect_timeout": _PATIENCE}
    return {"socket_timeout": _PATIENCE / _NODES, "socket_connect_timeout": _PATIENCE / _NODES}


def _client(address: Address, retries: int) -> Any:
    """Return a client of redis-py's, not connected yet."""
    options = _options(address, retries)
    if address.path is not None:
        return Redis(unix_socket_path=address.path, db=address.db, **options)
    if address.kind == "single":
        [(host, port)] = address.nodes
        return Redis(host=host, port=port, db=address.db, **options)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.nodes]
        return RedisCluster(startup_nodes=nodes, max_connections=_AT_ONCE, **options)
    own = {**options, "username": address.sentinel_username, "password": _sentinel_password(address)}
    sentinels = cast("Any", Sentinel)(list(address.nodes), sentinel_kwargs=own)
    return sentinels.master_for(address.service, db=address.db, **options)


async def _close(client: Any) -> None:
    """Close a client's connections, those to sentinels, too, which redis-py leaves open."""
    pool = getattr(client, "connection_pool", None)
    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
    for one in (client, *sentinels):
        with suppress(*_FAULTS):
            await one.aclose()


def _sentinel_password(address: Address) -> str | None:
    return None if address.sentinel_password is None else address.sentinel_password.reveal()
