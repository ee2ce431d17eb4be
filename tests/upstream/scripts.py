"""What a :class:`.faulty.FaultyServer` can be told to do with a request."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import threading
from collections.abc import Iterable, Iterator

from tests.support import APP_ID, Reply, valid
from tests.upstream.faulty import End, Script, Step

Fields = Iterable[tuple[str, str]]

_A_GIBIBYTE = 1 << 30
_BLOCK = b" " * 65_536
CHUNKED = (("Transfer-Encoding", "chunked"),)


def head(status: int = 200, headers: Fields = ()) -> bytes:
    """Return a status line and headers."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} Said\r\n{fields}\r\n".encode("latin-1")


def wire(reply: Reply | None = None, *, length: int | None = None, headers: Fields = ()) -> bytes:
    """Return a reply as it is sent; ``length`` is said instead of the body's true one."""
    reply = valid() if reply is None else reply
    said = len(reply.body) if length is None else length
    return head(reply.status, [("Content-Length", str(said)), *reply.headers, *headers]) + reply.body


def play(*steps: Step) -> Script:
    """Take these steps, every time."""
    return lambda: steps


def healthy(reply: Reply | None = None, headers: Fields = ()) -> Script:
    """Answer, and keep the connection."""
    return play(wire(reply, headers=headers))


def probed(reply: Reply | None = None) -> Script:
    """Answer a question about the app itself."""
    return healthy(Reply(json.dumps({"id": APP_ID}).encode()) if reply is None else reply)


def in_turn(*scripts: Script) -> Script:
    """Play another one for each request, whatever its connection; the last one from then on."""
    left, lock = iter(scripts[:-1]), threading.Lock()

    def script() -> Iterable[Step]:
        with lock:
            return next(left, scripts[-1])()

    return script


def late(seconds: float, reply: Reply | None = None) -> Script:
    """Answer after a while."""
    return play(seconds, wire(reply))


def drip(seconds: float, data: bytes, before: bytes = b"") -> Script:
    """Send ``before`` at once and then a byte from time to time."""

    def script() -> Iterator[Step]:
        yield before
        for position in range(len(data)):
            yield seconds
            yield data[position : position + 1]

    return script


def cut(data: bytes, end: End) -> Script:
    """Send this much, let it arrive, and end the connection."""
    return play(data, 0.02, end) if data else play(end)


def silence(before: bytes = b"") -> Script:
    """Send this much and then nothing more, for ever."""
    return play(before, math.inf)


def over_and_over(before: bytes, piece: bytes, seconds: float = 0.0) -> Script:
    """Send ``before`` and then a piece again and again, for ever."""

    def script() -> Iterator[Step]:
        yield before
        for _ in itertools.repeat(None):
            yield piece
            yield seconds

    return script


def huge() -> Script:
    """Announce a gibibyte, and send it."""

    def script() -> Iterator[Step]:
        yield head(200, [("Content-Length", str(_A_GIBIBYTE))])
        yield from itertools.repeat(_BLOCK, _A_GIBIBYTE // len(_BLOCK))

    return script


def endless_chunks() -> Script:
    """Send chunks for ever, as fast as they are taken."""
    return over_and_over(head(200, CHUNKED), b"10000\r\n" + _BLOCK + b"\r\n")


def bad_chunk() -> Script:
    """Send a chunk whose size is none."""
    return play(head(200, CHUNKED) + b"zz\r\n" + valid().body + b"\r\n0\r\n\r\n")


def interim(status: int, seconds: float = 0.01) -> Script:
    """Say 1xx again and again, for ever."""
    return over_and_over(b"", head(status), seconds)


def gzip_bomb(size: int, coding: str, layers: int = 1) -> Script:
    """Answer with so many bytes of white space, packed; the packed ones are few."""
    body = b" " * size
    for _ in range(layers):
        body = gzip.compress(body)
    return play(wire(Reply(body), headers=[("Content-Encoding", coding)]))


def redirect(status: int, to: str) -> Script:
    """Send the client elsewhere."""
    return play(wire(Reply(b"", status, (("Location", to),))))


def idle_close(reply: Reply | None = None) -> Script:
    """Answer as if the connection were kept, and close it."""
    return play(wire(reply), End.FIN)
