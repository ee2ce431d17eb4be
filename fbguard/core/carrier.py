"""Which request this code runs for: the protocol's own carrier, ASGI's scope or WSGI's environ.

The facts about the request lie in the carrier; no other object is made per request.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar, Token
from typing import Any

Carrier = MutableMapping[str, Any]

carrier_of_request: ContextVar[Carrier | None] = ContextVar("fbguard.request", default=None)


def is_asgi(carrier: Carrier) -> bool:
    """Tell a scope from an environ, which always has a REQUEST_METHOD (PEP 3333)."""
    return "REQUEST_METHOD" not in carrier


class entered:  # noqa: N801 - read as a word of a with statement
    """Let :func:`fbguard.current_token` find this request in the block.

    A class, because a generator made into a context manager takes three times as long.
    """

    __slots__ = ("_carrier", "_token")

    _token: Token[Carrier | None]

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def __enter__(self) -> None:
        self._token = carrier_of_request.set(self._carrier)

    def __exit__(self, *_exc_info: object) -> None:
        carrier_of_request.reset(self._token)
