"""Who asks in the loads: tasks and threads, at a guard or at its ASGI door."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.loads_graph import APP_ID, GOOD, Graph
from fbguard import Guard, Refused
from fbguard.asgi import FBTokenMiddleware, Message, Receive, Scope, Send

PATIENCE: Final = 15.0  # seconds until what hangs is called so


@dataclass(frozen=True, slots=True)
class Ask:
    """One question and its answer's status; times are seconds of the monotonic clock."""

    begun: float
    ended: float
    status: int


class Crowd:
    """Callers of both colours who ask at a steady rate (a second) until they are told to stop."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._over = threading.Event()

    def stop(self) -> None:
        """Let everybody go home."""
        self._over.set()

    async def ask(self, token: str) -> Ask:
        """Ask as a task."""
        begun = time.monotonic()
        try:
            await self._guard.acheck(token)
        except Refused as refused:
            return Ask(begun, time.monotonic(), refused.status)
        return Ask(begun, time.monotonic(), 200)

    def ask_here(self, token: str) -> Ask:
        """Ask in this thread."""
        begun = time.monotonic()
        try:
            self._guard.check(token)
        except Refused as refused:
            return Ask(begun, time.monotonic(), refused.status)
        return Ask(begun, time.monotonic(), 200)

    async def both(self, tokens: Iterable[str], rate: float) -> list[Ask]:
        """Ask about the tokens, half of them as tasks and half in a thread; returns all answers."""
        shared = iter(_Shared(tokens))
        threaded = asyncio.create_task(asyncio.to_thread(self._in_thread, shared, rate / 2))
        tasks: list[asyncio.Task[Ask]] = []
        due = time.monotonic()
        while not self._over.is_set():
            tasks.append(asyncio.create_task(self.ask(next(shared))))
            due += 2 / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
        return [*await asyncio.gather(*tasks), *await threaded]

    async def at_once(self, tokens: Iterable[str], rate: float, seconds: float) -> list[Ask]:
        """Ask at a steady rate for some time as tasks, whether they are answered or not."""
        tasks: list[asyncio.Task[Ask]] = []
        begun = time.monotonic()
        for number, token in zip(range(int(rate * seconds)), tokens, strict=False):
            await asyncio.sleep(max(begun + number / rate - time.monotonic(), 0))
            tasks.append(asyncio.create_task(self.ask(token)))
        return list(await asyncio.gather(*tasks))

    def _in_thread(self, tokens: Iterator[str], rate: float) -> list[Ask]:
        asks: list[Ask] = []
        due = time.monotonic()
        while not self._over.is_set():
            asks.append(self.ask_here(next(tokens)))
            due += 1 / rate
            time.sleep(max(due - time.monotonic(), 0))
        return asks


class _Shared(Iterator[str]):
    """An iterator for several threads."""

    def __init__(self, items: Iterable[str]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __next__(self) -> str:
        with self._lock:
            return next(self._items)


def guard_of(graph: Graph, **options: Any) -> Guard:
    return Guard(app_id=APP_ID, app_secret="5d41402abc4b2a76b9719d911017c592", graph_url=graph.url, **options)


def good_token(name: str, number: int = 0) -> str:
    return f"{GOOD}{name}{number:08}"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def send_to(door: FBTokenMiddleware, scope: Scope) -> tuple[int, float]:
    """Send a request; returns the status and the moment of the answer."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await door(scope, receive, send)
    return statuses[0], time.monotonic()


async def drop(guard: Guard, clients: int, slots: int) -> int:
    """Let clients ask, a hundred at once, and leave; returns how many had no answer yet."""
    crowd, dice, dropped = Crowd(guard), random.Random(1), 0
    for first in range(0, clients, 100):
        numbers = range(first, min(first + 100, clients))
        tasks = [asyncio.create_task(crowd.ask(good_token("churn", number))) for number in numbers]
        for task in tasks:
            asyncio.get_running_loop().call_later(dice.uniform(0, 0.06), task.cancel)
        await asyncio.wait(tasks)
        dropped += sum(task.cancelled() for task in tasks)
        if not await until(lambda: guard.health().in_flight < slots):  # nobody waits, and it is looked up
            break
    return dropped


async def attacked(crowd: Crowd, tokens: int, attackers: int) -> int:
    """Let attackers ask about random tokens; returns the greatest size of this process meanwhile."""
    dice, numbers, most = random.Random(2), iter(range(tokens)), 0

    async def attack() -> None:
        for _ in numbers:
            await crowd.ask(f"EAA{dice.randbytes(80).hex()}")

    attacks = {asyncio.create_task(attack()) for _ in range(attackers)}
    pending = attacks
    while pending:
        _, pending = await asyncio.wait(pending, timeout=0.1, return_when=asyncio.FIRST_EXCEPTION)
        most = max(most, resident())
    for one in attacks:
        one.result()
    return most


async def settled(guard: Guard) -> int:
    """Wait until no call is under way; returns how many are, when it takes too long."""
    await until(lambda: guard.health().in_flight == 0)
    return guard.health().in_flight


async def until(condition: Callable[[], bool]) -> bool:
    """Wait for something that a guard tells only when it is asked; False after :data:`PATIENCE`."""
    patience = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < patience:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return condition()


def resident() -> int:
    """Return the bytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def seconds_of(asks: Iterable[Ask]) -> list[float]:
    return [ask.ended - ask.begun for ask in asks]


def percentile(seconds: Iterable[float], part: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0
