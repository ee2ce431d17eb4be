"""A store in another process, asked over pipes: ``python -m tests.stores.remote`` is the other end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import mmap
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fbguard.core.errors import StoreUnavailable
from fbguard.stores.sqlite import SQLiteStore

ROOT = Path(__file__).parents[2]


class SharedTime:
    """Seconds in a file, the same for all processes."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def __call__(self) -> float:
        return struct.unpack("d", self._map)[0]

    def set(self, seconds: float) -> None:
        self._map[:] = struct.pack("d", seconds)


class Other:
    """The other process; ``space(...)`` gives spaces of its stores."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.stores.remote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ids = itertools.count()
        self._waiting: dict[int, Callable[[Any, Any], None]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                number, result, failure = pickle.load(self._process.stdout)
            except EOFError:  # it has ended: nobody must wait for it
                for tell in self._waiting.values():
                    tell(None, ConnectionError("the other process has ended"))
                return
            if (tell := self._waiting.get(number)) is not None:
                tell(result, failure)

    def send(self, tell: Callable[[Any, Any], None], *request: Any) -> int:
        with self._lock:
            number = next(self._ids)
            self._waiting[number] = tell
            assert self._process.stdin is not None
            pickle.dump((number, *request), self._process.stdin)
            self._process.stdin.flush()
        return number

    def end(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait(20)
        self._process.stdout.close()
        return code


class Remote:
    """A space over there."""

    def __init__(self, other: Other, path: str, time: str, size: int) -> None:
        self._other = other
        self._where = (path, time, size)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Any] = loop.create_future()

            def settle(result: Any, failure: BaseException | None) -> None:
                if future.done():
                    return
                future.set_result(result) if failure is None else future.set_exception(failure)

            def tell(*outcome: Any) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(settle, *outcome)

            self._other.send(
                tell,
                self._where,
                method,
                args,
                kwargs,
            )
            return await future

        return call

    async def news(self) -> AsyncIterator[bytes]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def tell(*outcome: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, outcome)

        number = self._other.send(tell, self._where, "news", (), {})
        try:
            while True:
                result, failure = await queue.get()
                if failure is not None:
                    raise failure
                yield result
        finally:
            self._other.send(lambda *_: None, self._where, "stop", (number,), {})


class Server:
    """This end: makes stores as they are asked for."""

    def __init__(self) -> None:
        self.stores: dict[Any, SQLiteStore] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def say(self, *answer: Any) -> None:
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    async def answer(self, number: int, where: Any, method: str, args: Any, kwargs: Any) -> None:
        if where not in self.stores:
            path, seconds, size = where
            self.stores[where] = SQLiteStore(path, size=size, time=SharedTime(seconds))
        space = self.stores[where].space("one")
        try:
            if method == "news":
                async for one in space.news():
                    self.say(number, one, None)
            elif method == "stop":
                self.tasks[args[0]].cancel()
            else:
                self.say(number, await getattr(space, method)(*args, **kwargs), None)
        except StoreUnavailable as exc:
            self.say(number, None, exc)
        finally:
            self.tasks.pop(number, None)

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(EOFError):
            while True:
                request = await loop.run_in_executor(None, pickle.load, sys.stdin.buffer)
                self.tasks[request[0]] = loop.create_task(self.answer(*request))
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for store in self.stores.values():
            await store.space("one").aclose()


if __name__ == "__main__":
    asyncio.run(Server().serve())
