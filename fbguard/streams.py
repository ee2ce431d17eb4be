"""Bodies that code of the app makes while they are sent: it sees its request, as the view did."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

from fbguard.core.carrier import Carrier, entered
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
