"""The requests that are measured: what a browser and a phone send, as scopes and environs.

Each comes through a proxy and has fifteen headers with the token in one of them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

METHOD: Final = "GET"
PATH: Final = "/v1/profile"

_BROWSER: Final = (
    ("Host", "api.example.com"),
    ("Connection", "keep-alive"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("Accept", "application/json"),
    ("Origin", "https://www.example.com"),
    ("Sec-Fetch-Site", "same-site"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
    ("Referer", "https://www.example.com/"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "id-ID,id;q=0.9,en;q=0.8"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
)
_PHONE: Final = (
    ("Host", "api.example.com"),
    ("Accept", "application/json"),
    ("Accept-Language", "id-ID"),
    ("User-Agent", "ExampleApp/4.12.0 (Android 16; Pixel 9) okhttp/5.1.0"),
    ("X-App-Version", "4.12.0"),
    ("X-Device-Id", "6f1c6d0e-6f0b-4f5e-9a59-5b7f0c1f2a77"),
    ("X-Request-Id", "0d9f4b1e-30f6-4d0c-8c5d-7a1f5f2e9b10"),
    ("Cache-Control", "no-cache"),
    ("If-None-Match", 'W/"5f3b-1a2b3c4d"'),
    ("Connection", "Keep-Alive"),
    ("Accept-Encoding", "gzip"),
    ("X-Forwarded-For", "203.0.113.8"),
    ("X-Forwarded-Proto", "https"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
)
_PLACE: Final = 3  # of the Authorization header: clients put it neither first nor last


@dataclass(frozen=True, slots=True)
class Request:
    """One request as text. What is made of it has objects of its own, as it comes from a server."""

    headers: tuple[tuple[str, str], ...]
    method: str = METHOD
    path: str = PATH


def requests_with(token: str | None) -> tuple[Request, ...]:
    """Return a browser's and a phone's request, with the token or without a credential."""
    credential = () if token is None else (("Authorization", f"Bearer {token}"),)
    return tuple(
        Request((*headers[:_PLACE], *credential, *headers[_PLACE:])) for headers in (_BROWSER, _PHONE)
    )


def in_turn(requests: tuple[Request, ...], count: int) -> Iterator[Request]:
    """Give ``count`` requests, one after the other and from the start again."""
    return (requests[number % len(requests)] for number in range(count))


def scope_of(request: Request) -> dict[str, Any]:
    """Return a fresh scope with the keys that uvicorn sets."""
    raw_path = request.path.encode()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("10.0.0.5", 8000),
        "client": ("10.0.0.9", 50312),
        "scheme": "http",
        "method": request.method.encode().decode(),
        "root_path": "",
        # Decoded anew: a str that was hashed before would make look-ups cheaper than they are.
        "path": raw_path.decode(),
        "raw_path": raw_path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers],
        "state": {},
    }


def environ_of(request: Request) -> dict[str, Any]:
    """Return a fresh environ with the keys that gunicorn sets; repeated headers are joined by commas."""
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "SERVER_SOFTWARE": "benchmark",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "10.0.0.5",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "50312",
        "REQUEST_METHOD": request.method.encode().decode(),
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "RAW_URI": request.path,
    }
    for name, value in request.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        fresh = value.encode("latin-1").decode("latin-1")
        environ[key] = f"{environ[key]},{fresh}" if key in environ else fresh
    return environ
