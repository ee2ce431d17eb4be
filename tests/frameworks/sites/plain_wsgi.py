"""Plain WSGI: the door's rules decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fbguard import Guard
from fbguard.wsgi import FBTokenMiddleware
from tests.frameworks.apps import OWN, RULES, bearer, before_stream, encoded, in_stream, said
from tests.frameworks.sites import logs
from tests.frameworks.sites.hasty import HastyClock

guard = Guard.from_env(clock=HastyClock(), limited_login=True)
logs.watch()

VIEWS = {
    "health", "me", "email", "pages", "either", "optional", "machine", "soon", "fresh", "report", "refuse",
    "log", "limited", "wide",
}  # fmt: skip


def _refuse(environ: Any) -> bytes:
    info = guard.check(bearer(environ.get("HTTP_AUTHORIZATION")), OWN)
    return encoded({"view": "refuse", "user": info.user_id, "carried": info.user_id})


def _stream() -> Iterator[bytes]:
    yield before_stream()
    yield in_stream()


def _app(environ: Any, start_response: Any) -> Iterable[bytes]:
    view, method = environ["PATH_INFO"].strip("/"), environ["REQUEST_METHOD"]
    if view == "stream":
        start_response("200 OK", [("Content-Type", "application/json")])
        return _stream()
    status, body = "200 OK", b""
    if view.partition("/")[0] not in VIEWS:
        status = "404 Not Found"
    elif method not in (["POST"] if view == "report" else ["GET", "HEAD"]):
        status = "405 Method Not Allowed"
    elif view == "refuse":
        body = _refuse(environ)
    else:
        if view == "log":
            logs.complain()
        body = encoded(said(view, environ["fbguard.token"]))
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]


app = FBTokenMiddleware(_app, guard, policy=RULES)
