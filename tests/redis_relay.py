"""A relay in front of a Redis, for tests: it cuts links, swallows what they carry, slows them down."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Literal, Self

from tests.redis_servers import HOST
from tests.support import PATIENCE

Which = Literal["all", "listeners"]

_COMMAND: Final = re.compile(rb"(?:^|(?<=\n))\*\d+\r\n")


class Relay:
    """Listens on loopback, on a thread of its own. A listener is a connection that has said SUBSCRIBE.

    With ``context`` it speaks TLS. ``delay`` is seconds by which every answer comes later; ``answer`` is said
    to every command instead of asking the server.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._lines: set[_Line] = set()
        self._cut: Which | None = None
        self._swallowed: Which | None = None
        self.delay = 0.0
        self.answer: bytes | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, HOST, 0, ssl=self._context))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"redis{'s' if self._context else ''}://{HOST}:{self.port}"

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _close(self) -> None:
        self._server.close()
        tasks = [line.task for line in self._lines]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what goes wrong -------------------------------------------------------------------------

    def cut(self, which: Which = "all") -> None:
        """End connections, and every new one."""

        async def cut() -> None:
            self._cut = which
            for line in self._lines:
                if self._is(which, line):
                    line.task.cancel()

        self._call(cut())

    def swallow(self, which: Which = "all") -> None:
        """Take everything and pass nothing on, without a word: on these connections for ever."""

        async def swallow() -> None:
            self._swallowed = which
            for line in self._lines:
                line.is_dead = line.is_dead or self._is(which, line)

        self._call(swallow())

    def mend(self) -> None:
        """Be well from now on; what was cut or swallowed is lost."""

        async def mend() -> None:
            self._cut = self._swallowed = self.answer = None
            self.delay = 0.0

        self._call(mend())

    @staticmethod
    def _is(which: Which | None, line: _Line) -> bool:
        return which == "all" or (which == "listeners" and line.is_listener)

    # -- connections -------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        line = _Line(task)
        line.is_dead = self._swallowed == "all"
        self._lines.add(line)
        ours: asyncio.StreamWriter | None = None
        try:
            if self._cut != "all":
                theirs, ours = await asyncio.open_connection(HOST, self._target)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, ours, lambda data: self._asked(line, data, writer)))
                    group.create_task(self._pump(theirs, writer, lambda data: self._answered(line, data)))
        except* (OSError, _OverError):
            pass
        except* asyncio.CancelledError:
            pass  # asyncio's streams complain of a task that ends so
        finally:
            for one in (writer, ours):
                if one is not None:
                    one.transport.abort()
                    with suppress(OSError, asyncio.CancelledError):
                        await one.wait_closed()
            self._lines.discard(line)

    @staticmethod
    async def _pump(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passed: Callable[[bytes], Coroutine[Any, Any, bytes]],
    ) -> None:
        while data := await reader.read(1 << 16):
            writer.write(await passed(data))
            await writer.drain()
        raise _OverError

    async def _asked(self, line: _Line, data: bytes, back: asyncio.StreamWriter) -> bytes:
        line.is_listener = line.is_listener or b"SUBSCRIBE" in data
        if self._is(self._cut, line):
            raise _OverError
        line.is_dead = line.is_dead or self._is(self._swallowed, line)
        if self.answer is not None:
            back.write(self.answer * len(_COMMAND.findall(data)))
            return b""
        return b"" if line.is_dead else data

    async def _answered(self, line: _Line, data: bytes) -> bytes:
        await asyncio.sleep(self.delay)
        return b"" if line.is_dead else data


class _Line:
    """One connection."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.is_listener = False
        self.is_dead = False


class _OverError(Exception):
    """One end has closed."""
