"""Starlette's AuthenticationMiddleware with ``@requires``, and fbguard, in Starlette and without its app."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
    requires,
)
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.floor import AsgiFloor
from benchmarks.hit import POLICY
from benchmarks.requests import PATH
from benchmarks.sides import AsgiNoOp, asgi_app
from benchmarks.world import BODIES, NEEDED, USER, Grant, Row, World
from fbguard import current_token
from fbguard.asgi import ASGIApp, FBTokenMiddleware, Receive, Scope, Send
from fbguard.decorator import require_fb_token

ENDPOINT: Final = "ASGI endpoint"
STARLETTE: Final = "Starlette app"

View = Callable[[Request], Awaitable[Response]]


class Backend(AuthenticationBackend):
    """Looks the token up in memory."""

    def __init__(self, grants: dict[str, Grant]) -> None:
        self._grants = grants

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return who has sent the request."""
        sent = conn.headers.get("authorization")
        if sent is None or sent[:7].lower() != "bearer ":
            return None
        grant = self._grants.get(sent[7:])
        if grant is None or grant.expires <= time.time():
            raise AuthenticationError("invalid token")
        return AuthCredentials(list(grant.scopes)), SimpleUser(grant.user_id)


def _endpoint(view: Callable[[Request], Awaitable[None]]) -> ASGIApp:
    """Return an app that is one view, which answers as the bare ASGI app does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            await view(request)
        except HTTPException as refused:
            await send({"type": "http.response.start", "status": refused.status_code, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await asgi_app(scope, receive, send)

    return app


async def _nothing(request: Request) -> None:
    pass


def endpoint(_world: World) -> Row:
    return Row(protocol="ASGI", app=_endpoint(_nothing), base=None, guards=False)


def endpoint_requires(world: World) -> Row:
    view: Any = requires(NEEDED)(_nothing)
    app = AuthenticationMiddleware(_endpoint(view), backend=Backend(world.grants))
    return Row(protocol="ASGI", app=app, base=ENDPOINT, proof=_has_user)


def _has_user(carrier: dict[str, Any]) -> bool:
    user = carrier.get("user")
    return isinstance(user, SimpleUser) and user.username == USER


def site(view: View, *middleware: Middleware) -> Starlette:
    """Return an app with one route."""
    return Starlette(routes=[Route(PATH, view)], middleware=middleware)


async def hello(_request: Request) -> Response:
    """Be the view of the bare app."""
    return Response(BODIES[USER], media_type="application/json")


async def hello_fb(_request: Request) -> Response:
    """Be the view that fbguard tells who asks."""
    return Response(BODIES[current_token(required=True).user_id or ""], media_type="application/json")


async def _hello_user(request: Request) -> Response:
    return Response(BODIES[request.user.username], media_type="application/json")


def bare(_world: World) -> Row:
    return Row(protocol="ASGI", app=site(hello), base=None, guards=False)


def no_op(_world: World) -> Row:
    return Row(protocol="ASGI", app=AsgiNoOp(site(hello)), base=STARLETTE, guards=False)


def floor(world: World) -> Row:
    return Row(protocol="ASGI", app=AsgiFloor(site(hello), world.judge), base=STARLETTE)


def door(world: World) -> Row:
    app = FBTokenMiddleware(site(hello_fb), world.guard, policy=POLICY)
    return Row(protocol="ASGI", app=app, base=STARLETTE)


def door_and_decorator(world: World) -> Row:
    view: View = require_fb_token(scopes=["email"])(hello_fb)
    return Row(protocol="ASGI", app=FBTokenMiddleware(site(view), world.guard, policy=POLICY), base=STARLETTE)


def decorator_alone(world: World) -> Row:
    view: View = require_fb_token(scopes=NEEDED)(hello_fb)
    return Row(protocol="ASGI", app=FBTokenMiddleware(site(view), world.guard, policy=None), base=STARLETTE)


def with_requires(world: World) -> Row:
    view: Any = requires(NEEDED)(_hello_user)
    app = site(view, Middleware(AuthenticationMiddleware, backend=Backend(world.grants)))
    return Row(protocol="ASGI", app=app, base=STARLETTE)


PEERS: Final = {
    ENDPOINT: endpoint,
    "ASGI AuthenticationMiddleware + requires": endpoint_requires,
    STARLETTE: bare,
    "Starlette no-op": no_op,
    "Starlette floor": floor,
    "Starlette fbguard": door,
    "Starlette fbguard + require_fb_token": door_and_decorator,
    "Starlette fbguard, require_fb_token alone": decorator_alone,
    "Starlette AuthenticationMiddleware + requires": with_requires,
}
