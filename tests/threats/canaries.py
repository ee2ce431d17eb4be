"""Secrets that must not come out anywhere, and the search for them in every dress."""

from __future__ import annotations

import base64
import logging
import random
import re
import string
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import fbguard
from tests.support import APP_ID

OURS = str(Path(fbguard.__file__).parent)
FRAGMENT = 12  # characters of a secret that nothing shows by chance


def _random(name: str, length: int = 48, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(random.Random(name).choices(letters, k=length))  # the same in every run


def _token(name: str) -> str:
    return f"EAA{_random(name, 180)}"


def _secret(name: str) -> str:
    return _random(name, 32, "0123456789abcdef")


CANARIES = {
    "user token": _token("user"),
    "dead token": _token("dead"),
    "page token": _token("page"),
    "malformed token": f"{_token('malformed')}|{_random('tail')}",
    "long token": _token("long") * 30,
    "query token": _token("query"),
    "cookie token": _token("cookie"),
    "subprotocol token": _token("subprotocol"),
    "second token": _token("second"),
    "oidc token": f"eyJ{_random('oidc', 60)}.eyJ{_random('payload', 200)}.{_random('signature', 86)}",
    "token of another scheme": _token("basic"),
    "app token": f"{APP_ID}|{_secret('guessed')}",
    "app secret": _secret("app"),
    "older app secret": _secret("older"),
    "malformed app secret": f"{_secret('malformed')} ",
    "secret of the environment": _secret("environment"),
    "referer": _token("referer"),
    "path": _token("path"),
    "echo": _token("echo"),  # what Graph says, in every text it has
    "redirect": _token("redirect"),
    "exception": _token("exception"),  # of a transport
    "body": _token("body"),  # of the request
    "other header": _token("header"),
}


def dresses(secret: str) -> Iterator[tuple[str, int]]:
    """Give a secret in every form that logs and programs write, and the least part of it that counts."""
    raw = secret.encode()
    yield secret, FRAGMENT
    yield secret[::-1], FRAGMENT
    yield quote(secret, safe=""), FRAGMENT
    yield quote(quote(secret, safe="")), FRAGMENT
    yield "".join(f"%{byte:02X}" for byte in raw), 3 * FRAGMENT
    yield "".join(f"%{byte:02x}" for byte in raw), 3 * FRAGMENT
    yield "".join(f"\\x{byte:02x}" for byte in raw), 4 * FRAGMENT
    yield raw.hex(), 2 * FRAGMENT
    yield raw.hex().upper(), 2 * FRAGMENT
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):  # a secret inside a longer text falls on any of three places
            # The first letters mix with what stands in front, the last ones with what is behind.
            yield encode(b"\0" * before + raw).decode().rstrip("=")[4:-2], FRAGMENT


def _parts(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))


def _index() -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for name, secret in CANARIES.items():
        for dress, length in dresses(secret):
            found.setdefault(length, {}).update(dict.fromkeys(_parts(dress, length), name))
    return found


_INDEX = _index()
_WORD = re.compile(rf"[\w+/=%|.~\\-]{{{FRAGMENT},}}")  # no part of a dress has other letters


def leaks(text: str) -> set[str]:
    """Return the names of the canaries of which a part stands in a text."""
    words = set(_WORD.findall(text))  # most are there many times
    return {
        index[part]
        for length, index in _INDEX.items()
        for word in words
        for part in _parts(word, length)
        if part in index
    }


# -- where to look -----------------------------------------------------------------------------------------


def shown_locals(frames: Iterator[tuple[FrameType, int]]) -> str:
    """Return what Sentry, rich and debug pages print of our frames: every local variable."""
    return "\n".join(
        f"{frame.f_code.co_qualname}:{line} {_deep(dict(frame.f_locals))}"
        for frame, line in frames
        if frame.f_code.co_filename.startswith(OURS)
    )


def _deep(value: Any, depth: int = 4) -> str:
    """Show a value as debug pages do: what is inside of objects too.

    But for the request in its protocol's own form, which has its headers: who prints it, prints them.
    """
    if isinstance(value, dict):
        if "REQUEST_METHOD" in value or {"type", "headers", "path"} <= value.keys():
            return "<the request>"
        if depth:
            return " ".join(f"{key!r}: {_deep(item, depth - 1)}" for key, item in value.items())
    if depth and type(value) in {list, tuple, set, frozenset}:
        return " ".join(_deep(item, depth - 1) for item in value)
    inside = (
        vars(value) if type(value).__module__.startswith("fbguard") and hasattr(value, "__dict__") else {}
    )
    return f"{value!r} {_deep(inside, depth - 1) if depth and isinstance(inside, dict) else ''}"


def shown_exception(exc: BaseException) -> str:
    """Return an exception with all that hangs on it: texts, chain, frames of ours with their locals."""
    shown = "".join(traceback.format_exception(exc))
    todo: list[BaseException | None] = [exc]
    while todo:
        one = todo.pop()
        if one is not None:
            shown += f"{one} {one!r} {one.args!r} {vars(one)!r}\n"
            shown += shown_locals(traceback.walk_tb(one.__traceback__))
            todo += [one.__cause__, one.__context__]
    return shown


class _Everything(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.shown.append(f"{self.format(record)} {record.msg!r} {record.args!r} {vars(record)!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self.shown.append(shown_exception(record.exc_info[1]))


@contextmanager
def everything_logged() -> Iterator[_Everything]:
    """Set every logger to DEBUG and collect what they write."""
    handler = _Everything()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(pathname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict] + [logging.root]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled = False
    logging.root.addHandler(handler)
    try:
        yield handler
    finally:
        logging.root.removeHandler(handler)
        for logger, level, disabled in before:
            logger.setLevel(level)
            logger.disabled = disabled
