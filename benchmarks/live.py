"""What ten thousand open connections cost that end with their token: ``python -m benchmarks.live``.

Each is a guarded WebSocket on an event loop, with an app that waits for a message, once behind a door that
looks at nothing (a public rule) and once behind one that guards. The difference is what watching costs.
There is no server: its sockets and buffers would hide it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import fbguard
from fbguard import Policy, Rule
from fbguard.asgi import FBTokenMiddleware
from fbguard.sandbox import Sandbox

CONNECTIONS: Final = 10_000
_PUBLIC: Final = Policy(Rule("/{rest:path}", public=True))


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one run. Times are seconds; ``memory`` is bytes, of all connections; ``left`` counts afterwards."""

    connections: int
    opening: float
    memory: int
    tick: float
    ending: float
    left: int

    @property
    def each(self) -> float:
        """Bytes per connection."""
        return self.memory / self.connections

    def each_of(self, seconds: float) -> float:
        """Microseconds per connection."""
        return seconds / self.connections * 1e6


class Client:
    """A server's side of one WebSocket."""

    __slots__ = ("_first", "_second", "code")

    def __init__(self) -> None:
        self._first: dict[str, Any] | None = {"type": "websocket.connect"}
        self._second: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.code = 0

    def go(self) -> None:
        """Be a client that goes away."""
        self._second.set_result({"type": "websocket.disconnect", "code": 1000})

    async def receive(self) -> Any:
        """Give the beginning, then nothing until the client goes."""
        first, self._first = self._first, None
        return first or await self._second

    async def send(self, message: Any) -> None:
        """Take what the app sends."""
        self.code = message.get("code", self.code)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and wait for a client that says nothing."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _scope(token: str) -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/ws",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "subprotocols": [],
    }


async def _opened(door: Any, scopes: Sequence[Any], clients: Sequence[Client]) -> list[asyncio.Task[None]]:
    pairs = zip(scopes, clients, strict=True)
    tasks = [asyncio.create_task(door(scope, one.receive, one.send)) for scope, one in pairs]
    for _ in range(5):  # until each waits for its client
        await asyncio.sleep(0)
    return tasks


async def _measure(connections: int, *, guarded: bool, traced: bool) -> Costs:
    sandbox = Sandbox()
    async with sandbox.guard() as guard:
        token = sandbox.issue_token(user_id="1001", expires_in=3600)
        await guard.acheck(token)
        door = FBTokenMiddleware(app, guard, policy=Policy() if guarded else _PUBLIC)
        scopes, clients = (
            [_scope(token) for _ in range(connections)],
            [Client() for _ in range(connections)],
        )
        gc.collect()
        if traced:
            tracemalloc.start()
        began = time.perf_counter()
        tasks = await _opened(door, scopes, clients)
        opening = time.perf_counter() - began
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] if traced else 0
        tracemalloc.stop()
        if guarded and len(guard.live) != connections:
            raise RuntimeError("not every connection is watched")
        began = time.perf_counter()
        guard.live.tick()
        tick = time.perf_counter() - began
        began = time.perf_counter()
        if guarded:
            guard.expire_session(token)
        else:
            for client in clients:
                client.go()
        await asyncio.gather(*tasks)
        ending = time.perf_counter() - began
        if guarded and not all(one.code == 1008 for one in clients):
            raise RuntimeError("not every connection was closed")
        return Costs(connections, opening, memory, tick, ending, len(guard.live))


def measure(connections: int, *, guarded: bool) -> Costs:
    """Run twice: for the times, and for the memory, which makes times longer."""
    timed = asyncio.run(_measure(connections, guarded=guarded, traced=False))
    traced = asyncio.run(_measure(connections, guarded=guarded, traced=True))
    return Costs(connections, timed.opening, traced.memory, timed.tick, timed.ending, timed.left)


def report(public: Costs, guarded: Costs) -> Iterator[str]:
    """Give the lines of a table."""
    yield f"{'':<34}{'public':>12}{'guarded':>12}{'difference':>12}"
    rows: tuple[tuple[str, float, float], ...] = (
        ("memory, bytes a connection", public.each, guarded.each),
        ("opening, microseconds each", public.each_of(public.opening), guarded.each_of(guarded.opening)),
        ("ending, microseconds each", public.each_of(public.ending), guarded.each_of(guarded.ending)),
        ("ending all, milliseconds", public.ending * 1e3, guarded.ending * 1e3),
        ("a tick, microseconds", public.tick * 1e6, guarded.tick * 1e6),
    )
    for name, without, with_guard in rows:
        yield f"{name:<34}{without:>12.1f}{with_guard:>12.1f}{with_guard - without:>12.1f}"
    yield f"{'left in the registry':<34}{public.left:>12}{guarded.left:>12}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args(arguments)
    if options.connections < 1:
        parser.error("--connections must be at least 1")
    print(f"fbguard {fbguard.__version__}, Python {platform.python_version()}, {sys.platform}")
    print(
        f"{options.connections} open WebSockets; memory is what tracemalloc sees, of the apps and tasks, too"
    )
    public = measure(options.connections, guarded=False)
    for line in report(public, measure(options.connections, guarded=True)):
        print(line)


if __name__ == "__main__":
    main()
