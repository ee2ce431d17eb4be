"""What the fleet serves: an ASGI and a Flask app, each guarded, with one shared store, keeping a diary.

The diary is outside of the guard's middleware and counts as the request does. A token has a number there,
which the client sends along: the diary holds no tokens.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from flask import Flask, request

from fbguard import Guard, Policy, Rule, asgi, current_token, wsgi
from fbguard.core.errors import StoreUnavailable
from fbguard.stores.redis import RedisStore
from tests.fleet.history import FAULT, Diary

POLICY: Final = Policy(Rule("/pid", public=True), Rule("/end", public=True))
SAW: Final = "tests.saw"  # beside a request: whom the view saw

guard = Guard.from_env(store=RedisStore(os.environ["TESTS_REDIS"]))
diary = Diary(Path(os.environ["TESTS_DIARIES"]))
if before_the_fork := os.environ.get("TESTS_TOKEN"):
    guard.check(before_the_fork)


def _bearer(header: str) -> str:
    return header.removeprefix("Bearer ")


def _seen() -> dict[str, object]:
    info = current_token()
    return {"pid": os.getpid(), "user": None if info is None else info.user_id}


# -- ASGI --------------------------------------------------------------------------------------------


async def _view(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await guard.aclose()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, body = await _end(scope) if scope["path"] == "/end" else (200, _seen())
    scope.get(SAW, []).append(body.get("user"))
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _end(scope: Any) -> tuple[int, dict[str, object]]:
    headers = dict(scope["headers"])
    number, asked, is_done = headers[b"x-number"].decode(), time.monotonic(), True
    try:
        await guard.aexpire_session(_bearer(headers[b"authorization"].decode()))
    except StoreUnavailable:
        is_done = False
    diary.end(asked, time.monotonic(), number, is_done=is_done)
    return 200 if is_done else 503, {"pid": os.getpid()}


class Watched:
    """An ASGI app of which the diary tells."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/me":
            await self._app(scope, receive, send)
            return
        start, statuses, saw = time.monotonic(), [FAULT], ["-"]
        number = dict(scope["headers"])[b"x-number"].decode()

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        try:
            await self._app({**scope, SAW: saw}, receive, noted)
        finally:
            diary.verdict(start, time.monotonic(), number, statuses[-1], saw[-1])


asgi_app = Watched(asgi.FBTokenMiddleware(_view, guard, policy=POLICY))


# -- Flask -------------------------------------------------------------------------------------------

flask_app = Flask(__name__)


@flask_app.get("/pid")
@flask_app.get("/me")
def _flask_view() -> dict[str, object]:
    seen = _seen()
    request.environ.get(SAW, []).append(seen["user"])
    return seen


@flask_app.post("/end")
def _flask_end() -> tuple[dict[str, object], int]:
    asked, is_done = time.monotonic(), True
    try:
        guard.expire_session(_bearer(request.headers["Authorization"]))
    except StoreUnavailable:
        is_done = False
    diary.end(asked, time.monotonic(), request.headers["X-Number"], is_done=is_done)
    return {"pid": os.getpid()}, 200 if is_done else 503


def _watched(app: Any) -> Callable[..., Iterable[bytes]]:
    def watched(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/me":
            return app(environ, start_response)  # type: ignore[no-any-return]
        start, statuses, saw = time.monotonic(), [FAULT], ["-"]

        def noted(status: str, headers: Sequence[tuple[str, str]], *more: Any) -> Any:
            statuses.append(int(status[:3]))
            return start_response(status, headers, *more)

        try:
            return app({**environ, SAW: saw}, noted)  # type: ignore[no-any-return]
        finally:
            diary.verdict(start, time.monotonic(), environ["HTTP_X_NUMBER"], statuses[-1], saw[-1])

    return watched


flask_app.wsgi_app = _watched(  # type: ignore[method-assign]
    wsgi.FBTokenMiddleware(flask_app.wsgi_app, guard, policy=POLICY)
)
