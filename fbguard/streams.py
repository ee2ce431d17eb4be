"""Bodies that code of the app makes while they are sent: it sees its request, and some end with its token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar, cast
from weakref import ref

from fbguard.claims import Claims, refusal_at_end
from fbguard.core.carrier import Carrier, entered
from fbguard.core.reasons import Finding
from fbguard.guard import Guard
from fbguard.live import Breakable, Cut, Watched
from fbguard.reports import heed

T = TypeVar("T")


class SeeingBody(Generic[T]):
    """A streamed body whose code finds its request; ``close`` is what closes it, if anything does."""

    def __init__(
        self, chunks: Iterator[T], carrier: Carrier, close: Callable[[], object] | None = None
    ) -> None:
        self._chunks = chunks
        self._carrier = carrier
        self._close = close

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with entered(self._carrier):
            try:
                return next(self._chunks)
            except StopIteration:
                raise
            except Exception as error:
                heed(self._carrier, error)
                raise  # the answer is out: the server must cut it, not end it

    def close(self) -> None:
        """Close the body below, with its request in sight."""
        if self._close is not None:
            with entered(self._carrier):
                self._close()


async def seeing_body(body: AsyncIterable[T], carrier: Carrier) -> AsyncIterator[T]:
    """Give the chunks of a streamed body whose code finds its request."""
    chunks = aiter(body)
    while True:
        with entered(carrier):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except Exception as error:
                heed(carrier, error)
                raise  # as above
        yield chunk


def _cut(finding: Finding, _guard: Guard) -> Cut:
    return Cut(finding)


class LiveBody(Watched, Generic[T]):
    """A body that ends with its tokens, looked at before each chunk; ``close`` is what closes the body.

    Watches from the first chunk on. ``early`` makes the exception for an end before anything is out, by the
    guard whose token has ended.
    """

    def __init__(
        self,
        body: Iterable[T],
        claims: Claims,
        close: Callable[[], object] | None = None,
        early: Callable[[Finding, Guard], Exception] = _cut,
    ) -> None:
        super().__init__()
        self._body = body
        self._chunks: Iterator[T] | None = None
        self.claims = claims
        self._close = close
        self._error = early

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._chunks is None:
            self.claims.begin(self)
            self._chunks = iter(self._body)
        self._check()
        try:
            chunk = next(self._chunks)
        except BaseException:
            self.unwatch()
            raise
        self._check()  # it may have waited for long
        if chunk:
            self._error = _cut
        return chunk

    def _check(self) -> None:
        if self.finding is not None:
            self.unwatch()  # not everybody closes a body
            raise self._error(self.finding, cast("Guard", self.ended_by))

    def close(self) -> None:
        """Close the body below."""
        self.unwatch()
        if self._close is not None:
            self._close()

    def _ending(self, guard: Guard) -> Callable[[Finding], None]:
        return _weakly(self, guard)

    def __del__(self) -> None:
        self.drop()  # not every body is read to its end, or closed


class LiveStream(Breakable, Generic[T]):
    """A streamed body that ends with its tokens, also while it waits for its next chunk.

    Watches from the first chunk on. ``cut`` is called, on the loop, if it is cut.
    """

    def __init__(
        self, body: AsyncIterable[T], claims: Claims, cut: Callable[[Finding], None] | None = None
    ) -> None:
        super().__init__()
        self._cut = cut
        self._body = body
        self._chunks: AsyncIterator[T] | None = None
        self._claims = claims

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._chunks is None:
            self._loop = asyncio.get_running_loop()
            self._claims.begin(self)
            self._chunks = aiter(self._body)
        if self.finding is not None:
            raise Cut(self.finding)
        try:
            return await self.wait(anext(self._chunks))
        except BaseException:
            self.unwatch()
            raise

    def _break_off(self, guard: Guard, finding: Finding) -> None:
        super()._break_off(guard, finding)
        if self._cut is not None and self.finding is finding:
            self._cut(finding)

    async def aclose(self) -> None:
        """Close the body below."""
        self.unwatch()
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()

    def _ending(self, guard: Guard) -> Callable[[Finding], None]:
        return _weakly(self, guard)

    def __del__(self) -> None:
        self.drop()


def ending_body(
    carrier: Carrier, claims: Claims, body: Iterable[T], close: Callable[[], object] | None
) -> LiveBody[T]:
    """Return a body below a door, which answers if the body is refused before anything is out."""
    return LiveBody(body, claims, close, partial(refusal_at_end, carrier, claims.guard, claims.demands))


def _weakly(one: Watched, guard: Guard) -> Callable[[Finding], None]:
    """Let nobody who watches keep a body alive that its server has dropped."""
    body = ref(one)

    def end_if_there(finding: Finding) -> None:
        found = body()
        if found is not None:
            found.end(guard, finding)

    return end_if_there
