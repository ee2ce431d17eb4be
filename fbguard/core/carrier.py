"""Which request this code runs for: the protocol's own carrier, ASGI's scope or WSGI's environ.

The facts about the request lie in the carrier; no other object is made per request.
"""

from __future__ import annotations

from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Carrier = MutableMapping[str, Any]

carrier_of_request: ContextVar[Carrier | None] = ContextVar("fbguard.request", default=None)


def is_asgi(carrier: Carrier) -> bool:
    """Tell a scope from an environ, which always has a REQUEST_METHOD (PEP 3333)."""
    return "REQUEST_METHOD" not in carrier


@contextmanager
def entered(carrier: Carrier) -> Generator[None]:
    """Let :func:`fbguard.current_token` find this request in the block."""
    token = carrier_of_request.set(carrier)
    try:
        yield
    finally:
        carrier_of_request.reset(token)
