"""One HTTP request and one HTTP reply as plain values, whoever carries them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1_000


@dataclass(frozen=True, slots=True)
class Request:
    """What came in. Everything that may hold a token stays out of the repr.

    ``path`` is decoded and without the query; header names are lower case; of a header or a
    parameter that is repeated the last one counts.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    headers: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    body: bytes = field(repr=False, default=b"")

    @classmethod
    def of(
        cls, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """Build a request from its target as it stands on the wire: ``/path?query``."""
        # Not urlsplit: it would read the start of "//a/b" as a host.
        path, _, query = target.partition("#")[0].partition("?")
        lowered = {name.lower(): value for name, value in headers}
        return cls(method.upper(), unquote(path, errors="replace"), _fields(query), lowered, body)

    def form(self) -> Mapping[str, str]:
        """Return the fields of a urlencoded body; of any other body none."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return _fields(self.body.decode("utf-8", "replace")) if kind == _FORM else {}

    def param(self, name: str) -> str | None:
        """Return a parameter from the form or else the query; Graph takes either. None: not sent."""
        sent = self.form().get(name)
        return self.query.get(name) if sent is None else sent


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(repr=False, default=b"")

    def sized(self) -> tuple[tuple[str, str], ...]:
        """Return the headers with a ``Content-Length``: the true one, unless another was asked for."""
        if any(name.lower() == "content-length" for name, _ in self.headers):
            return self.headers
        return (*self.headers, ("Content-Length", str(len(self.body))))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a carrier does with a request: wait ``delay`` seconds, then send ``reply``.

    A ``reply`` of None means that the connection breaks without one.
    """

    reply: Reply | None
    delay: float = 0.0


def json_reply(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return ``value`` as JSON, non-ASCII escaped as Graph does it."""
    kind = ("Content-Type", "application/json; charset=UTF-8")
    return Reply(status, (kind, *headers), json.dumps(value, separators=(",", ":")).encode())


def _fields(encoded: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(encoded, keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS))
    except ValueError:  # more fields than anybody means: as good as none
        return {}
