"""The two apps of the demo: the same routes in Starlette and in Flask, guarded by one policy.

``/name`` and ``/page-name`` call Graph as the request's user, and ``/insights`` with a token of a
page that the app itself keeps, which has died. ``/log-out`` ends the session of the request's token, and
below ``/facebook`` is what Facebook and legacy clients call when a session ends elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
from flask import Flask, abort
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from fbguard import (
    GraphAuth,
    Guard,
    OAuthException,
    Policy,
    Rule,
    asgi,
    current_token,
    raise_for_graph_error,
    require_fb_token,
    wsgi,
)

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# What no rule names, /me among it, takes any valid user token of the app.
POLICY: Final = Policy(
    Rule("/health", public=True),
    Rule("/facebook/{rest:path}", public=True),  # who calls there proves it by a signature
    Rule("/pages/{page_id}", scopes=["pages_manage_posts"], target="page_id"),
    Rule("/payout", max_login_age=600),
)


def _facts() -> dict[str, object]:
    info = current_token()
    if info is None:
        return {"user_id": None}
    return {"user_id": info.user_id, "scopes": sorted(info.scopes)}


def starlette_app(guard: Guard, page_id: str, page_token: str) -> asgi.FBTokenMiddleware:
    """Return the Starlette app behind its door."""

    async def facts(_request: Request) -> JSONResponse:
        return JSONResponse(_facts())

    @require_fb_token(scopes=["email"])
    async def email(_request: Request) -> JSONResponse:
        return JSONResponse(_facts())

    async def name(_request: Request) -> JSONResponse:
        return JSONResponse(_facts() | {"name": (await call("me", GraphAuth()))["name"]})

    async def page_name(_request: Request) -> JSONResponse:
        return JSONResponse(_facts() | {"name": (await call(page_id, GraphAuth()))["name"]})

    async def insights(_request: Request) -> JSONResponse:
        try:
            return JSONResponse(_facts() | await call("me", GraphAuth(token=page_token)))
        except OAuthException:
            raise HTTPException(502) from None

    async def log_out(request: Request) -> JSONResponse:
        await guard.aexpire_session(request.headers["Authorization"].partition(" ")[2])
        return JSONResponse(_facts())

    tls = httpx.create_ssl_context()  # once: it takes so long that no request should wait for it

    async def call(path: str, auth: GraphAuth) -> dict[str, object]:
        async with httpx.AsyncClient(base_url=guard.graph_url, verify=tls) as client:
            body: dict[str, object] = raise_for_graph_error(await client.get(path, auth=auth)).json()
            return body

    open_to_policy = ("/health", "/me", "/pages/{page_id}", "/payout")
    routes: list[BaseRoute] = [Route(path, facts) for path in open_to_policy]
    routes += [Route("/email", email), Route("/name", name)]
    routes += [Route("/page-name", page_name), Route("/insights", insights)]
    routes += [Route("/log-out", log_out, methods=["POST"]), Mount("/facebook", guard.callbacks_asgi())]
    return asgi.FBTokenMiddleware(Starlette(routes=routes), guard, policy=POLICY)


def flask_app(guard: Guard, page_id: str, page_token: str) -> WSGIApplication:
    """Return the Flask app behind its door."""
    app = Flask("fbguard.cli.apps")
    tls = httpx.create_ssl_context()  # once, as above

    def call(path: str, auth: GraphAuth) -> dict[str, object]:
        url = f"{guard.graph_url}/{path}"
        body: dict[str, object] = raise_for_graph_error(httpx.get(url, auth=auth, verify=tls)).json()
        return body

    @app.get("/health")
    @app.get("/me")
    @app.get("/pages/<page_id>")
    @app.get("/payout")
    def facts(page_id: str | None = None) -> dict[str, object]:
        del page_id  # the rule has judged it
        return _facts()

    @app.get("/email")
    @require_fb_token(scopes=["email"])
    def email() -> dict[str, object]:
        return _facts()

    @app.get("/name")
    def name() -> dict[str, object]:
        return _facts() | {"name": call("me", GraphAuth())["name"]}

    @app.get("/page-name")
    def page_name() -> dict[str, object]:
        return _facts() | {"name": call(page_id, GraphAuth())["name"]}

    @app.get("/insights")
    def insights() -> dict[str, object]:
        try:
            return _facts() | call("me", GraphAuth(token=page_token))
        except OAuthException:
            abort(502)

    @app.post("/log-out")
    def log_out() -> dict[str, object]:
        guard.expire_session(flask_request.headers["Authorization"].partition(" ")[2])
        return _facts()

    mounted = DispatcherMiddleware(app, {"/facebook": guard.callbacks_wsgi()})
    return wsgi.FBTokenMiddleware(mounted, guard, policy=POLICY)
