"""Plain ASGI: the door's rules decide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fbguard import Guard
from fbguard.asgi import FBTokenMiddleware
from tests.frameworks.apps import OWN, RULES, bearer, before_stream, encoded, in_stream, said
from tests.frameworks.sites import logs
from tests.frameworks.sites.hasty import HastyClock

guard = Guard.from_env(clock=HastyClock(), limited_login=True)
logs.watch()


async def _refuse(scope: Any) -> bytes:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    info = await guard.acheck(bearer(values[0] if values else None), OWN)
    return encoded({"view": "refuse", "user": info.user_id, "carried": info.user_id})


async def _stream() -> AsyncIterator[bytes]:
    yield before_stream()
    yield in_stream()


async def _view(scope: Any, send: Any) -> None:
    view = scope["path"].strip("/")
    status, body = 200, b""
    if view == "stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in _stream():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if view.partition("/")[0] not in VIEWS:
        status = 404
    elif scope["method"] not in (["POST"] if view == "report" else ["GET", "HEAD"]):
        status = 405
    elif view == "refuse":
        body = await _refuse(scope)
    else:
        if view == "log":
            logs.complain()
        assert scope["state"]["fb_token"] is scope["fbguard.token"]
        body = encoded(said(view, scope["fbguard.token"]))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


VIEWS = {
    "health", "me", "email", "pages", "either", "optional", "machine", "soon", "fresh", "report", "refuse",
    "log", "limited", "wide",
}  # fmt: skip


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await _view(scope, send)


app = FBTokenMiddleware(_app, guard, policy=RULES)
