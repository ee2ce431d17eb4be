"""What the servers serve: one plain app of each kind behind its door, telling what it saw.

The app has a view for every path, so that whatever a door lets through shows as a 200.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from fbguard import Guard, Policy, Rule, asgi, current_token, wsgi

POLICY = Policy(
    Rule("/health", public=True),
    Rule("/news", methods=["GET"], public=True),
    Rule("/optional", optional=True),
    Rule("/admin/{rest:path}", scopes=["pages_manage_posts"]),
)  # what no rule names needs a valid user token

_LOOKS_LIKE_IDENTITY = ("fb", "user", "token", "auth", "ident")
_PREFLIGHT_HEADERS = [
    ("Access-Control-Allow-Origin", "https://app.example"),
    ("X-View", "ran"),
    ("Content-Type", "text/plain"),
    ("Content-Length", "4"),
]


def _make_guard() -> Guard:
    token_from = os.environ.get("TESTS_TOKEN_FROM")
    return Guard.from_env(**({"token_from": token_from.split(",")} if token_from else {}))


def _seen(path: str, carrier: Mapping[str, Any], headers: Iterable[str], body: bytes) -> bytes:
    """Return what the view answers; ``carrier`` is what no header should be able to write to."""
    info = current_token()
    seen = {
        "view": path,
        "pid": os.getpid(),
        "user_id": None if info is None else info.user_id,
        "identity": {key: type(value).__name__ for key, value in carrier.items() if _is_identity(key)},
        "headers": sorted(filter(_is_identity, headers)),
        "body": body.decode(),
    }
    return json.dumps(seen).encode()


def _is_identity(key: str) -> bool:
    return any(part in key.lower() for part in _LOOKS_LIKE_IDENTITY)


# -- ASGI --------------------------------------------------------------------------------------------


async def _plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await _asgi_socket(scope, receive, send)
    elif scope["method"] == "OPTIONS":
        await _asgi_answer(send, _PREFLIGHT_HEADERS, b"body")
    else:
        body = _asgi_seen(scope, await _asgi_body(receive))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await _asgi_answer(send, headers, b"" if scope["method"] == "HEAD" else body)


async def _asgi_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _asgi_answer(send: Any, headers: list[tuple[str, str]], body: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _asgi_socket(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": _asgi_seen(scope, b"").decode()})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _asgi_seen(scope: Any, body: bytes) -> bytes:
    carrier = {**scope, **{f"state.{key}": value for key, value in scope["state"].items()}}
    return _seen(scope["path"], carrier, (name.decode("latin-1") for name, _ in scope["headers"]), body)


# -- WSGI --------------------------------------------------------------------------------------------


def _plain_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "OPTIONS":
        start_response("200 OK", list(_PREFLIGHT_HEADERS))
        return [b"body"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    carrier = {key: value for key, value in environ.items() if not key.startswith("HTTP_")}
    headers = [key for key in environ if key.startswith("HTTP_")]
    body = _seen(environ["PATH_INFO"], carrier, headers, environ["wsgi.input"].read(length))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


_guard = _make_guard()
asgi_app = asgi.FBTokenMiddleware(_plain_asgi, _guard, policy=POLICY)
wsgi_app = wsgi.FBTokenMiddleware(_plain_wsgi, _guard, policy=POLICY)
