"""What an answer tells of a token that came otherwise than in the Authorization header.

Shared caches keep away from that header by themselves (RFC 9111 section 3.5), and no link gives it away.
"""

from __future__ import annotations

from typing import Final

from fbguard.core.carrier import Carrier
from fbguard.core.secret import Secret
from fbguard.core.sources import TokenSources, merged_vary, private_cache_control
from fbguard.entrance import Head

MARKS: Final = "fbguard.marks"  # of a request, and of its copies: Marks


class Marks:
    """What the answer to one request must tell, by all guards that have let it in.

    A copy of the request has the same one: whoever marks the answer knows what views below have found. It
    holds no token, and nothing that holds the request.
    """

    __slots__ = ("_in_query", "_names", "is_applied", "is_private", "subprotocol")

    def __init__(self) -> None:
        self.is_applied = False  # whether a door of WSGI does it
        self.subprotocol: str | None = None  # what a server selects if the app selects nothing
        self.is_private = False  # shared caches must keep away
        self._in_query = False
        self._names: tuple[str, ...] = ()

    def depend_on(self, sources: TokenSources) -> None:
        """Note places at which a guard looks for a token."""
        self._names = tuple(dict.fromkeys((*self._names, *sources.vary())))

    def note(self, sources: TokenSources, head: Head, token: Secret) -> None:
        """Note a token with which a guard that reads these places has let the request in."""
        if sources.in_header(head) == token:
            return
        self.is_private = True
        self._in_query = self._in_query or sources.is_in_query(head, token)
        self.depend_on(sources)

    def on(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Merge what the answer depends on into ``Vary``, and ``private`` into ``Cache-Control``.

        Where a token is in the address, no page that the answer links to may hear of that.
        """
        if not self.is_private:
            return headers
        headers = _merged(headers, "Vary", merged_vary(_values(headers, "vary"), [*self._names]))
        headers = _merged(headers, "Cache-Control", private_cache_control(_values(headers, "cache-control")))
        if not self._in_query or _values(headers, "referrer-policy"):
            return headers
        return [*headers, ("Referrer-Policy", "no-referrer")]


def marks_of(carrier: Carrier) -> Marks:
    """Return the marks of a request."""
    marks: Marks = carrier.setdefault(MARKS, Marks())
    return marks


def _values(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for header, value in headers if header.lower() == name]


def _merged(headers: list[tuple[str, str]], name: str, value: str | None) -> list[tuple[str, str]]:
    if value is None:
        return headers
    return [*(pair for pair in headers if pair[0].lower() != name.lower()), (name, value)]
