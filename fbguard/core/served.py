"""A request to an app of fbguard's own as its rules see it, and the answers they share. Pure; no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qs

from fbguard.core.answers import Answer
from fbguard.core.secret import Secret

RETRY_AFTER: Final = 5  # seconds
FORM: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 32  # of a query or form


@dataclass(frozen=True, slots=True)
class Request:
    """A request in no protocol's words: ``path`` is decoded and starts below the mount ``root``.

    ``query`` is raw; the names of ``headers`` are in lower case; ``client`` is the peer's address.
    """

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    scheme: str = "https"
    root: str = ""
    client: str | None = None

    @property
    def media_types(self) -> list[str]:
        """What the body is said to be, in lower case and without parameters; one, as a rule."""
        return [value.partition(";")[0].strip().lower() for value in self.all("content-type")]

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of this name, which is in lower case."""
        return [value for key, value in self.headers if key == name]


class Head:
    """A request as the rules about tokens, origins and clients read it; nothing of it is shown."""

    __slots__ = ("_request",)

    is_websocket = False
    subprotocols: Sequence[str] = ()

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def method(self) -> str:
        """The verb."""
        return self._request.method

    @property
    def query(self) -> str:
        """The raw query string."""
        return self._request.query

    @property
    def client(self) -> str | None:
        """The peer's address."""
        return self._request.client

    def header(self, name: str) -> Sequence[str]:
        """Return the values of a header, in order; ``name`` in lower case."""
        return self._request.all(name)


@dataclass(frozen=True, slots=True)
class Setting(Answer):
    """An answer that sets cookies: no repr shows these values of Set-Cookie, nor its other headers."""

    headers: list[tuple[str, str]] = field(repr=False)
    cookies: tuple[Secret, ...] = ()


def header_pairs(answer: Answer) -> list[tuple[str, str]]:
    """Return all headers of an answer, cookies too: for the expression that sends them."""
    cookies = answer.cookies if isinstance(answer, Setting) else ()
    return [*answer.headers, *(("Set-Cookie", cookie.reveal()) for cookie in cookies)]


def only(text: str, name: str) -> str | None:
    """Return the one value of a field of a query or form; None without one or with several."""
    try:
        values = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS).get(name, [])
    except ValueError:
        return None
    return values[0] if len(values) == 1 else None


def exceeds(length: str, cap: int) -> bool:
    """Tell whether a Content-Length is a number above the cap."""
    # No int() of what may have 5000 digits; what is no number is for the server to refuse.
    digits = length.lstrip("0")
    return digits.isascii() and digits.isdigit() and (len(digits) > len(str(cap)) or int(digits) > cap)


def plain(status: int, text: str, *more: tuple[str, str], newline: str = "\n") -> Answer:
    """Return an answer of one line; ``more`` are further headers."""
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *more], f"{text}{newline}".encode())


def forbidden() -> Answer:
    """Return the answer to what nobody has proven to be Facebook's."""
    return plain(403, "This is not from Facebook, or not for this app.")


def too_large() -> Answer:
    """Return the answer to a body above the cap."""
    return plain(413, "The body is too large.")


def unavailable() -> Answer:
    """Return what asks whoever called, Facebook or a person, to come again."""
    return plain(503, "Try again later.", ("Retry-After", str(RETRY_AFTER)))


def finished(answer: Answer) -> Answer:
    """Return the answer with the headers that all have."""
    given = {name.lower() for name, _ in answer.headers}
    common = (
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    )
    missing = [pair for pair in common if pair[0].lower() not in given]
    return replace(answer, headers=[*answer.headers, *missing])
