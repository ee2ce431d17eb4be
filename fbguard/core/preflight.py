"""CORS preflights (Fetch standard, "CORS-preflight fetch"). Pure.

A preflight can carry no token. So it may go in without one, but only to be answered: no facts go in, and
of the answer only the headers of :func:`is_kept` come out, with 204, if it was a 2xx; never a body.
"""

from __future__ import annotations

from typing import Final

STATUS: Final = 204
_KEPT: Final = frozenset({"allow", "vary"})
_OK: Final = 200
_REDIRECTION: Final = 300


def is_preflight(method: str, *, origin: bool, request_method: bool) -> bool:
    """Tell a real preflight: OPTIONS with Origin and Access-Control-Request-Method."""
    return method == "OPTIONS" and origin and request_method


def is_answered(status: int) -> bool:
    """Tell whether the app answered a preflight; else the client gets the 401 it would have got."""
    return _OK <= status < _REDIRECTION


def is_kept(header: str) -> bool:
    """Tell whether a header of the app's answer may come out; names in any case."""
    name = header.lower()
    return name.startswith("access-control-") or name in _KEPT
