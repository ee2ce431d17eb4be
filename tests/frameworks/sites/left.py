"""What a request has left behind: asked outside of every door, in the process that served it."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

from fbguard import current_token
from fbguard.core.carrier import carrier_of_request
from tests.frameworks.apps import user_of
from tests.frameworks.crowd import LEFT, WORKERS
from tests.frameworks.sites import flask_site, starlette_site

_PATIENCE = 20.0  # seconds
# Each thread of gunicorn answers one, as there are so many questions at once.
_together = threading.Barrier(WORKERS)


def _held() -> int:
    """Return how many requests are still alive."""
    gc.collect()
    return sum(type(one) is dict and "fbguard.token" in one for one in gc.get_objects())


def _left() -> dict[str, Any]:
    nothing = carrier_of_request.get() is None
    return {"thread": threading.get_ident(), "user": user_of(current_token()), "nothing": nothing}


def wsgi_app(environ: Any, start_response: Any) -> Any:
    """Serve the Flask site, and tell what this thread has left of it."""
    if environ["PATH_INFO"] != LEFT:
        return flask_site.app(environ, start_response)
    left = _left()
    if environ["QUERY_STRING"] == "held":
        left["held"] = _held()
    else:
        _together.wait(_PATIENCE)
    body = json.dumps(left).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Serve the Starlette site, and tell what this loop has left of it."""
    if scope["type"] == "lifespan" or scope["path"] != LEFT:
        await starlette_site.around(scope, receive, send)
        return
    left = _left()
    if scope["query_string"] == b"held":
        left["held"] = _held()
    body = json.dumps(left).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
