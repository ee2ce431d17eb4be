"""Where a request may carry its token: ``token_from``. Pure.

The Authorization header (RFC 6750 section 2.1) is the one place by default. What can be switched on
besides: the query parameter ``access_token`` (section 2.3), a cookie, and a WebSocket's subprotocols
``bearer, TOKEN``, for browsers, whose WebSocket sends no headers of the page's choice. A place that
is not switched on is not looked at; tokens in two places are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from fbguard.core.credentials import AMBIGUOUS, FOREIGN_COOKIE, MISSING, from_authorization, screen
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret

_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265 section 4.1.1
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}  # which no browser names (RFC 6454 section 6.1)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
_QUERY_PARAMETER: Final = "access_token"
_SUBPROTOCOL: Final = "bearer"
_MAX_FIELDS: Final = 1000  # of a query string; more is nobody's form


class RequestHead(Protocol):
    """What the rules here need of a request, in either protocol."""

    @property
    def method(self) -> str:
        """The verb as it was sent; GET for a WebSocket."""
        ...

    @property
    def is_websocket(self) -> bool:
        """Whether this is the handshake of a WebSocket."""
        ...

    @property
    def query(self) -> str:
        """The raw query string."""
        ...

    @property
    def client(self) -> str | None:
        """The peer's address, None if it has none."""
        ...

    @property
    def subprotocols(self) -> Sequence[str]:
        """What the client offers in Sec-WebSocket-Protocol, in order."""
        ...

    def header(self, name: str) -> Sequence[str]:
        """Return the values of a header, in order; ``name`` in lower case."""
        ...


@dataclass(frozen=True, slots=True)
class TokenSources:
    """The places that are switched on; ``cookie`` is the cookie's name or None.

    ``id_tokens`` tells whether tokens of Limited Login are taken there.
    """

    header: bool = True
    query: bool = False
    cookie: str | None = None
    websocket: bool = False
    id_tokens: bool = False

    @classmethod
    def parse(cls, token_from: object, *, id_tokens: bool = False) -> TokenSources:
        """Read ``Guard(token_from=...)``: of "header", "query", "cookie:NAME", "websocket-protocol".

        Raises TypeError for a bare str, ValueError for an unknown or repeated place or none at all.
        """
        if isinstance(token_from, str) or not isinstance(token_from, Sequence):
            raise TypeError("token_from must be a sequence of str, such as ('header',)")
        places: list[object] = list(token_from)  # pyright: ignore[reportUnknownArgumentType]
        if not all(isinstance(place, str) for place in places):
            raise TypeError("token_from must hold str only")
        cookies = [place for place in cast("list[str]", places) if place.startswith("cookie:")]
        known = {"header", "query", "websocket-protocol", *cookies}
        if not places or len(set(places)) < len(places) or not known.issuperset(places) or len(cookies) > 1:
            raise ValueError(
                "token_from takes 'header', 'query', 'cookie:NAME' and 'websocket-protocol', each once"
            )
        cookie = cookies[0].partition(":")[2] if cookies else None
        if cookie is not None and not _COOKIE_NAME.fullmatch(cookie):
            raise ValueError("token_from: 'cookie:NAME' needs the name of a cookie (RFC 6265 section 4.1.1)")
        return cls(
            header="header" in places,
            query="query" in places,
            cookie=cookie,
            websocket="websocket-protocol" in places,
            id_tokens=id_tokens,
        )

    @property
    def header_only(self) -> bool:
        """Whether the Authorization header is the one place."""
        return self.header and not self.query and self.cookie is None and not self.websocket

    @property
    def need_marks(self) -> bool:
        """Whether a token may come where shared caches do not look: answers must tell them."""
        return self.query or self.cookie is not None

    def find(self, request: RequestHead) -> Secret | Finding | None:
        """Return the request's token, None for none, or why it is refused unasked."""
        if self.header_only:
            return self.in_header(request)
        found = [credential for credential in self._candidates(request) if credential is not None]
        if len(found) > 1:
            return AMBIGUOUS
        return found[0] if found else None

    def missing(self, request: RequestHead) -> Finding:
        """Return why :meth:`find` has found nothing."""
        if (
            self.cookie is None
            or not cookies_of(request.header("cookie"), self.cookie)
            or is_same_origin(request)
        ):
            return MISSING
        return FOREIGN_COOKIE

    def in_header(self, request: RequestHead) -> Secret | Finding | None:
        """Return what stands in the Authorization header."""
        return from_authorization(request.header("authorization"), id_tokens=self.id_tokens)

    def _candidates(self, request: RequestHead) -> Iterator[Secret | Finding | None]:
        if self.header:
            yield self.in_header(request)
        if self.query:
            yield self._only(_in_query(request.query))
        if self.cookie is not None:
            yield self._only(_in_cookie(self.cookie, request))
        if self.websocket and request.is_websocket:
            yield self._only(_in_subprotocols(request))

    def _only(self, found: Sequence[Secret] | None) -> Secret | Finding | None:
        """Return the one token of a place, screened; None stands for a place that can be read two ways."""
        if found is None or len(found) > 1:
            return AMBIGUOUS
        return screen(found[0], id_tokens=self.id_tokens) if found else None

    def is_in_query(self, request: RequestHead, token: Secret | None) -> bool:
        """Tell a token that a request has in its address."""
        return self.query and token is not None and _in_query(request.query) == [token]

    def answered_subprotocol(self, request: RequestHead) -> str | None:
        """Return what a server selects of an offer that carries a token, if the app selects nothing.

        A browser drops a connection for which it offered subprotocols and got none (RFC 6455 4.1).
        """
        return _SUBPROTOCOL if self.websocket and _SUBPROTOCOL in request.subprotocols else None

    def vary(self) -> list[str]:
        """Return the request headers that a guarded answer depends on, for ``Vary``."""
        return [*(["Authorization"] if self.header else []), *(["Cookie"] if self.cookie else [])]


def _in_query(query: str) -> Sequence[Secret] | None:
    if _QUERY_PARAMETER not in query and "%" not in query:
        return []
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    return [Secret(value) for name, value in fields if name == _QUERY_PARAMETER]


def cookies_of(headers: Iterable[str], name: str) -> list[Secret]:
    """Return all cookies of this name in a request's Cookie headers (RFC 6265 section 5.4)."""
    pairs = [pair.partition("=") for value in headers for pair in value.split(";")]
    return [Secret(value.strip(" \t")) for key, _, value in pairs if key.strip(" \t") == name]


def _in_cookie(name: str, request: RequestHead) -> Sequence[Secret]:
    found = cookies_of(request.header("cookie"), name)
    if found and not is_same_origin(request):
        return []  # another site made the browser send it: as if it were not there
    return found


def is_same_origin(request: RequestHead) -> bool:
    """Tell whether a cookie may speak for a request: always where nothing is changed.

    A handshake of a WebSocket is a GET that any site can make a browser send with cookies. Hosts are
    compared without the scheme, which a proxy in front may have changed; so may it have written the port.
    """
    if request.method in _SAFE_METHODS and not request.is_websocket:
        return True
    site = request.header("sec-fetch-site")
    if site and list(site) != ["same-origin"]:
        return False
    origin, host = request.header("origin"), request.header("host")
    if len(origin) != 1 or len(host) != 1:
        return False
    try:
        page = urlsplit(origin[0])
    except ValueError:
        return False
    shown, asked = (without_port(name.strip().lower(), page.scheme) for name in (page.netloc, host[0]))
    return shown == asked != ""


def without_port(host: str, scheme: str) -> str:
    """Return a host, with a port or without, as browsers write it in Origin: without the scheme's own."""
    return host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _in_subprotocols(request: RequestHead) -> Sequence[Secret] | None:
    sent = request.header("sec-websocket-protocol")
    if len(sent) > 1 and any(_SUBPROTOCOL in value for value in sent):
        return None  # servers differ: most join repeated ones, hypercorn keeps the last
    offered = request.subprotocols
    return [
        Secret(token)
        for marker, token in zip(offered, [*offered[1:], ""], strict=False)
        if marker == _SUBPROTOCOL
    ]


def merged_vary(existing: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the value of ``Vary`` that has ``names`` too (RFC 9110 section 12.5.5), None if it has them."""
    listed = [name.strip() for value in existing for name in value.split(",") if name.strip()]
    lower = {name.lower() for name in listed}
    if "*" in lower or lower.issuperset(name.lower() for name in names):
        return None
    return ", ".join([*listed, *(name for name in names if name.lower() not in lower)])


def private_cache_control(existing: Sequence[str]) -> str | None:
    """Return a ``Cache-Control`` that keeps shared caches away (RFC 9111 section 5.2.2), None if it does."""
    listed = [part.strip() for value in existing for part in value.split(",") if part.strip()]
    names = {part.partition("=")[0].lower(): part.lower() for part in listed}
    if "no-store" in names or names.get("private") == "private":
        return None
    kept = [
        part for part in listed if part.partition("=")[0].lower() not in {"public", "private", "s-maxage"}
    ]
    return ", ".join([*kept, "private"])
