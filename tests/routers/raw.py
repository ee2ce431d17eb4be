"""A request line and its headers, and what servers make of them: a scope, an environ.

Written after uvicorn 0.54 (h11_impl.py, httptools_impl.py), hypercorn 0.18 and gunicorn 27 (http/wsgi.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from tests.support import http_scope, wsgi_environ

PREFLIGHT = (("Origin", "https://shop.example"), ("Access-Control-Request-Method", "POST"))
_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Raw:
    """What a client sends below ``mount``, the ``root_path`` or ``SCRIPT_NAME`` that the server was told.

    ``reader`` is how an ASGI server reads it: "h11" and "httptools" put the mount before the path, as
    uvicorn does; "outside" leaves it out, as behind a proxy that strips it.
    """

    target: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    mount: str = ""
    reader: str = "h11"

    def below(self, prefix: str) -> Raw:
        """Return the same request for an app that is mounted at ``prefix`` by another app."""
        found = _AUTHORITY.match(self.target)
        authority = found[0] if found else ""
        return replace(self, target=f"{authority}{prefix}{self.target[len(authority) :]}")

    @property
    def is_preflight(self) -> bool:
        names = {name.lower() for name, _ in self.headers}
        return self.method == "OPTIONS" and {"origin", "access-control-request-method"} <= names


def to_scope(raw: Raw, token: str | None) -> dict[str, Any]:
    target = raw.target
    if raw.reader == "httptools":
        target = _AUTHORITY.sub("", target, count=1).partition("#")[0]
    raw_path, _, query = target.partition("?")
    path = unquote(raw_path)  # UTF-8, with U+FFFD where it is none
    if raw.reader != "outside":
        path, raw_path = raw.mount + path, raw.mount + raw_path
    return http_scope(
        path,
        raw.method,
        _with(token, raw.headers),
        raw_path=raw_path.encode("utf-8"),
        query_string=query.encode("utf-8"),
        root_path=raw.mount,
    )


def to_environ(raw: Raw, token: str | None) -> dict[str, Any]:
    if raw.target.startswith("//"):  # which urlsplit would take for an authority
        parts = urlsplit("." + raw.target)
        parts = parts._replace(path=parts.path[1:])
    else:
        parts = urlsplit(raw.target)
    path = unquote_to_bytes(parts.path).decode("latin-1")
    return wsgi_environ(
        "/",
        raw.method,
        _with(token, raw.headers),
        PATH_INFO=path,
        RAW_URI=raw.target,
        QUERY_STRING=parts.query,
        SCRIPT_NAME=raw.mount.encode().decode("latin-1"),
    )


def _with(token: str | None, headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [*headers] if token is None else [*headers, ("Authorization", f"Bearer {token}")]
