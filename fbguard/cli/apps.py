"""The two apps of the demo: the same routes in Starlette and in Flask, guarded by one policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, asgi, current_token, require_fb_token, wsgi

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# What no rule names, /me among it, takes any valid user token of the app.
POLICY: Final = Policy(
    Rule("/health", public=True),
    Rule("/pages/{page_id}", scopes=["pages_manage_posts"], target="page_id"),
    Rule("/payout", max_login_age=600),
)


def _facts() -> dict[str, object]:
    info = current_token()
    if info is None:
        return {"user_id": None}
    return {"user_id": info.user_id, "scopes": sorted(info.scopes)}


def starlette_app(guard: Guard) -> asgi.FBTokenMiddleware:
    """Return the Starlette app behind its door."""

    async def facts(_request: Request) -> JSONResponse:
        return JSONResponse(_facts())

    @require_fb_token(scopes=["email"])
    async def email(_request: Request) -> JSONResponse:
        return JSONResponse(_facts())

    open_to_policy = ("/health", "/me", "/pages/{page_id}", "/payout")
    routes = [Route(path, facts) for path in open_to_policy] + [Route("/email", email)]
    return asgi.FBTokenMiddleware(Starlette(routes=routes), guard, policy=POLICY)


def flask_app(guard: Guard) -> WSGIApplication:
    """Return the Flask app behind its door."""
    app = Flask("fbguard.cli.apps")

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

    return wsgi.FBTokenMiddleware(app, guard, policy=POLICY)
