"""What logs and traces of this process may hold of the calls of Graph: no token, no proof, no secret."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from sys import modules
from typing import Any, Final

# Query parameters that hold a token or a secret.
_SECRET_PARAMETER: Final = re.compile(
    r"((?:input_token|access_token|client_secret|fb_exchange_token|appsecret_proof)=)[^&\s\"']+"
)
_LIBRARY_LOGGERS: Final = (  # of clients: their records name the URL
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "aiohttp.client",
    "aiohttp.internal",
    "httpcore.socks",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpcore2.socks",
)
_WIRE_LOGGERS: Final = ("hpack.hpack", "hpack.table")  # of HTTP/2: theirs hold every header, packed, too
our_call: Final[ContextVar[bool]] = ContextVar("fbguard_our_call", default=False)  # is one under way?


class _HideTokens(logging.Filter):
    """Takes tokens out of the request lines that the HTTP libraries log (httpx does at INFO)."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _hide(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_hide(value) for value in record.args)
        elif record.args:
            record.args = {key: _hide(value) for key, value in record.args.items()}
        return True


def _hide(value: Any) -> Any:
    """Return the value, or its text without secrets where its text has some."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    hidden = _SECRET_PARAMETER.sub(r"\1***", text)
    return value if hidden == text else hidden


class _BeSilent(logging.Filter):
    """Drops what a library logs about calls with our credentials; other clients keep their records."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not our_call.get()


def untraced() -> AbstractContextManager[object]:
    """Keep OpenTelemetry's instrumentation of HTTP clients off a call: spans hold the URL, with the token.

    By the name that it has if anybody uses it: fbguard needs no OpenTelemetry.
    """
    utils = modules.get("opentelemetry.instrumentation.utils")
    suppress: Any = getattr(utils, "suppress_http_instrumentation", nullcontext)
    found: AbstractContextManager[object] = suppress()
    return found


_HIDE_TOKENS: Final = _HideTokens()
_BE_SILENT: Final = _BeSilent()


def hide_tokens_in_logs() -> None:
    """Take tokens and proofs out of what HTTP clients of this process log; again does no harm."""
    for name in _LIBRARY_LOGGERS:
        logging.getLogger(name).addFilter(_HIDE_TOKENS)  # the same filter twice is one
    for name in _WIRE_LOGGERS:
        logging.getLogger(name).addFilter(_BE_SILENT)
