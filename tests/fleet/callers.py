"""Who asks the fleet: connections that stay with one worker, and a load at a steady rate."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.fleet.history import ACCEPTED, REFUSED
from tests.fleet.servers import LINES, PATIENCE, Fleet, Served
from tests.redis_servers import HOST

LATE: Final = 1.1  # seconds after an acknowledgement: by then every worker must have heard of it
GONE: Final = 0  # the status of a connection that broke

_ANSWER: Final = 20.0  # seconds
_AGAIN: Final = 0.005  # between two questions to a worker that has not heard yet
_UNDER_WAY: Final = 40  # requests of the steady load at once: beyond it the machine is too slow for the rate
_ENDING: Final = 20  # sessions that are ended at once: likewise
_KNOWN: Final = 40  # tokens whose sessions nobody ends


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a user of its own; ``number`` is its name in the diaries."""

    number: int
    value: str
    user: str


class Line:
    """A connection that stays open, and so with its worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.is_over = False  # the server has said that it closes it

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(self, method: str, path: str, token: Token | None = None) -> tuple[int, dict[str, Any]]:
        """Send a request; returns its status and its answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n"
        if token is not None:
            head += f"Authorization: Bearer {token.value}\r\nX-Number: {token.number}\r\n"
        self._writer.write(f"{head}\r\n".encode())
        async with asyncio.timeout(_ANSWER):
            said = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(said.partition("content-length:")[2].partition("\r\n")[0])
            body = await self._reader.readexactly(length)
        self.is_over = "\r\nconnection: close" in said
        return int(said.split(" ", 2)[1]), json.loads(body)

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class Worker:
    """One process of the fleet, with the lines to it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lines: list[Line] = []
        self._free: asyncio.Queue[Line] = asyncio.Queue()

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._free.put_nowait(line)

    async def ask(self, token: Token, path: str = "/me", method: str = "GET") -> tuple[int, dict[str, Any]]:
        """Ask about a token; :data:`GONE` when the line broke, which then is used no more."""
        async with asyncio.timeout(_ANSWER):
            line = await self._free.get()
        try:
            answer = await line.ask(method, path, token)
        except (OSError, EOFError, TimeoutError):
            return GONE, {}
        self._free.put_nowait(line)
        return answer

    async def end(self, token: Token) -> bool:
        """End a session; False when that is not acknowledged."""
        status, _ = await self.ask(token, "/end", "POST")
        return status == ACCEPTED


@asynccontextmanager
async def workers_of(fleet: Fleet) -> AsyncGenerator[list[Worker]]:
    """Give all workers of a fleet, with lines to each."""
    workers = await lines_to(fleet.servers)
    try:
        yield workers
    finally:
        await asyncio.gather(*(line.close() for worker in workers for line in worker.lines))


async def lines_to(servers: Sequence[Served]) -> list[Worker]:
    """Return all workers of some servers, with lines to each."""
    found = await asyncio.gather(*map(_found, servers))
    return [worker for some in found for worker in some]


async def _found(server: Served) -> list[Worker]:
    """Open lines until there are enough to each worker: who takes one is known when it answers."""
    workers: dict[int, Worker] = {}
    surplus: list[Line] = []  # as long as they are open, their worker takes fewer of the next
    patience = time.monotonic() + PATIENCE
    while len(workers) < server.workers or any(len(one.lines) < LINES for one in workers.values()):
        assert time.monotonic() < patience, f"few of the workers answer: {[*workers]}"
        line = await Line.open(server.port)
        _, said = await line.ask("GET", "/pid")
        worker = workers.setdefault(said["pid"], Worker(said["pid"]))
        if len(worker.lines) < LINES and not line.is_over:
            worker.add(line)
        else:
            surplus.append(line)
    await asyncio.gather(*(line.close() for line in surplus))
    return list(workers.values())


# -- the load ------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Requests at a steady rate to all workers, about tokens that live and about those that were ended.

    What was ended is asked about once more, of every worker, when it must have heard; the rest is random.
    When the machine is too slow for the rate, the load is what it can do.
    """

    fleet: Fleet
    workers: Sequence[Worker]
    rate: float
    tokens: list[Token] = field(default_factory=list[Token])
    known: list[Token] = field(default_factory=list[Token])
    ended: list[Token] = field(default_factory=list[Token])
    answers: Counter[int] = field(default_factory=Counter[int])
    sent: int = 0
    seconds: float = 0.0
    _due: deque[tuple[float, Worker, Token]] = field(default_factory=deque[tuple[float, Worker, Token]])

    @property
    def reached(self) -> float:
        """Return the requests a second that there were, of the steady load."""
        return self.sent / self.seconds if self.seconds else 0.0

    def issue(self) -> Token:
        number = len(self.tokens)
        user = str(100_000 + number)
        token = Token(number, self.fleet.sandbox.issue_token(user_id=user), user)
        self.tokens.append(token)
        return token

    async def ask(self, worker: Worker, token: Token) -> int:
        status, _ = await worker.ask(token)
        self.answers[status] += 1
        return status

    async def ask_at_once(self, worker: Worker, tokens: Sequence[Token]) -> None:
        """Ask one worker about tokens, over all its lines."""
        left = list(tokens)

        async def some() -> None:
            while left:
                await self.ask(worker, left.pop())

        await asyncio.gather(*(some() for _ in worker.lines))

    async def ask_all(self, token: Token) -> list[int]:
        return await asyncio.gather(*(self.ask(worker, token) for worker in self.workers))

    # -- the steady part ---------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Load the fleet while the block runs."""
        self.known = [self.issue() for _ in range(_KNOWN)]
        for token in self.known:
            await self.ask_all(token)
        over = asyncio.Event()
        steady = asyncio.create_task(self._steady(over))
        try:
            yield
        finally:
            over.set()
            await steady

    async def _steady(self, over: asyncio.Event) -> None:
        under_way: set[asyncio.Task[int]] = set()
        begun = due = time.monotonic()
        while not over.is_set():
            if len(under_way) >= _UNDER_WAY:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self.ask(*self._next()))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self.sent += 1
            due = max(due + 1 / self.rate, time.monotonic() - 0.1)  # no burst for what could not be done
            await asyncio.sleep(max(due - time.monotonic(), 0))
        self.seconds = time.monotonic() - begun
        await asyncio.gather(*under_way)

    def _next(self) -> tuple[Worker, Token]:
        if self._due and self._due[0][0] <= time.monotonic():
            return self._due.popleft()[1:]
        tokens = self.known if random.random() < 0.5 or not self.ended else self.ended
        return random.choice(self.workers), random.choice(tokens)

    # -- sessions that end --------------------------------------------------------------------

    async def end_many(self, count: int, rate: float) -> None:
        """End sessions at a steady rate."""
        under_way: set[asyncio.Task[bool]] = set()
        due = time.monotonic()
        for number in range(count):
            if len(under_way) >= _ENDING:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self.end_one(is_hurried=number % 4 == 3))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            due = max(due + 1 / rate, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
        await asyncio.gather(*under_way)

    async def end_one(self, *, is_hurried: bool = False) -> bool:
        """End a session that all workers know of, or are just looking up; False if it is not acknowledged.

        Whoever has not heard of it yet is asked until he has.
        """
        token = self.issue()
        looking = asyncio.create_task(self.ask_all(token))
        if not is_hurried:
            await looking
        is_done = await random.choice(self.workers).end(token)
        if is_done:
            await asyncio.gather(*(self._ask_until_refused(worker, token) for worker in self.workers))
            self.ended.append(token)
            self._due.extend((time.monotonic() + LATE, worker, token) for worker in self.workers)
        await looking
        return is_done

    async def _ask_until_refused(self, worker: Worker, token: Token) -> None:
        patience = time.monotonic() + LATE
        while await self.ask(worker, token) not in REFUSED and time.monotonic() < patience:
            await asyncio.sleep(_AGAIN)

    async def ask_about_the_ended(self) -> None:
        """Ask every worker about every session that was ended, a few at once."""
        for token in self.ended:
            await self.ask_all(token)

    async def settled(self) -> None:
        """Wait until every question about the ended that is due once more was asked."""
        patience = time.monotonic() + PATIENCE
        while self._due:
            assert time.monotonic() < patience, "the load does not come round"
            await asyncio.sleep(0.05)


async def every(seconds: float, do: Callable[[], object], over: asyncio.Event) -> int:
    """Do something in a thread now and then; returns how many times."""
    times = 0
    while not over.is_set():
        await asyncio.to_thread(do)
        times += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)
    return times
