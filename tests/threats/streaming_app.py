"""WSGI apps whose bodies call Graph while they are sent, for servers in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from flask import Flask, Response

from fbguard import GraphAuth, Guard, current_token, raise_for_graph_error, require_fb_token, wsgi
from fbguard.integrations.flask import FBGuard

CLOSED = "the body was closed"
guard = Guard.from_env()


class Body:
    """Sends what ``before`` holds, asks Graph who this is, and sends the answer."""

    def __init__(self, *before: bytes) -> None:
        self._chunks = self._run(before)

    def _run(self, before: tuple[bytes, ...]) -> Iterator[bytes]:
        yield from before
        answer = httpx.get(f"{guard.graph_url}/v26.0/me", auth=GraphAuth(), trust_env=False)
        raise_for_graph_error(answer)
        yield (current_token(required=True).user_id or "").encode()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        print(CLOSED, flush=True)


def _plain(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/x":
        return [b"hello"]
    return Body(*([b"one"] if environ["PATH_INFO"] == "/stream" else []))


def _flask() -> Flask:
    app = Flask("streaming")
    email = require_fb_token(scopes=["email"])
    app.add_url_rule("/x", "x", email(lambda: "hello"))
    app.add_url_rule("/stream", "stream", email(lambda: Response(Body(b"one"))))
    app.add_url_rule("/late", "late", email(lambda: Response(Body())))
    return app


plain = wsgi.FBTokenMiddleware(_plain, guard)
flask_door = _flask()
FBGuard(flask_door, guard)
flask_views = _flask()
flask_views.extensions["fbguard"] = guard
