"""What an answer tells of a token that came otherwise than in the Authorization header.

Shared caches keep away from that header by themselves (RFC 9111 section 3.5), and no link gives it away.
"""

from __future__ import annotations

from typing import Final

from fbguard.context import LET_IN
from fbguard.core.carrier import Carrier
from fbguard.core.credentials import from_authorization
from fbguard.core.secret import Secret
from fbguard.core.sources import TokenSources, merged_vary, private_cache_control
from fbguard.entrance import Head

MARKING: Final = "fbguard.marking"  # of a request: the places whose tokens doors around mark, in a tuple


def mark(
    headers: list[tuple[str, str]], sources: TokenSources, carrier: Carrier, head: Head
) -> list[tuple[str, str]]:
    """Merge what an answer depends on into ``Vary``, and ``private`` into ``Cache-Control``.

    Where the token is in the address, no page that the answer links to may hear of that.
    """
    tokens = outside(carrier, head)
    if not tokens:
        return headers
    headers = _merged(headers, "Vary", merged_vary(_values(headers, "vary"), sources.vary()))
    headers = _merged(headers, "Cache-Control", private_cache_control(_values(headers, "cache-control")))
    if _values(headers, "referrer-policy") or not any(sources.is_in_query(head, token) for token in tokens):
        return headers
    return [*headers, ("Referrer-Policy", "no-referrer")]


def outside(carrier: Carrier, head: Head) -> list[Secret]:
    """Return the tokens that a request was let in with and that are not in its Authorization header."""
    tokens: tuple[Secret, ...] = carrier.get(LET_IN, ())
    sent = from_authorization(head.header("authorization")) if tokens else None
    return [token for token in tokens if token != sent]


def are_covered(sources: TokenSources, carrier: Carrier) -> bool:
    """Tell whether a door around marks what comes from these places."""
    doors: tuple[TokenSources, ...] = carrier.get(MARKING, ())
    return any(door.reads_at_least(sources) for door in doors)


def note_marking(carrier: Carrier, sources: TokenSources) -> None:
    """Note that a door marks the answer to this very request, by what is found in these places."""
    carrier[MARKING] = (*carrier.get(MARKING, ()), sources)


def _values(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for header, value in headers if header.lower() == name]


def _merged(headers: list[tuple[str, str]], name: str, value: str | None) -> list[tuple[str, str]]:
    if value is None:
        return headers
    return [*(pair for pair in headers if pair[0].lower() != name.lower()), (name, value)]
