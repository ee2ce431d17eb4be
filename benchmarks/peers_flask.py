"""Flask-HTTPAuth, Authlib and flask-jwt-extended in Flask, and fbguard there."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from flask import Flask, Response, abort

from benchmarks.floor import WsgiFloor
from benchmarks.hit import POLICY, SCOPES
from benchmarks.peers_bare import KEY, authlib_validator
from benchmarks.requests import PATH
from benchmarks.sides import WsgiNoOp
from benchmarks.world import BODIES, DAY, NEEDED, POOR, USER, Grant, Row, Tokens, World
from fbguard import current_token
from fbguard.decorator import require_fb_token
from fbguard.wsgi import FBTokenMiddleware

FLASK: Final = "Flask app"


def _site(view: Callable[[], Response]) -> Flask:
    app = Flask(__name__)
    app.add_url_rule(PATH, "hello", view)
    return app


def _answer(user_id: str) -> Response:
    return Response(BODIES[user_id], mimetype="application/json")


def _hello() -> Response:
    return _answer(USER)


def _hello_fb() -> Response:
    return _answer(current_token(required=True).user_id or "")


def bare(_world: World) -> Row:
    return Row(protocol="WSGI", app=_site(_hello), base=None, guards=False)


def no_op(_world: World) -> Row:
    return Row(protocol="WSGI", app=WsgiNoOp(_site(_hello).wsgi_app), base=FLASK, guards=False)


def floor(world: World) -> Row:
    return Row(protocol="WSGI", app=_FloorOfIterables(_site(_hello).wsgi_app, world), base=FLASK)


class _FloorOfIterables:
    """The floor takes lists only; werkzeug's answers are iterables that must be closed."""

    def __init__(self, app: Any, world: World) -> None:
        self._app = app
        self._floor = WsgiFloor(self._serve, world.judge)

    def _serve(self, environ: Any, start_response: Any) -> list[bytes]:
        body = self._app(environ, start_response)
        try:
            return list(body)
        finally:
            body.close()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Serve one request."""
        return self._floor(environ, start_response)


def door(world: World) -> Row:
    app = FBTokenMiddleware(_site(_hello_fb).wsgi_app, world.guard, policy=POLICY)
    return Row(protocol="WSGI", app=app, base=FLASK)


def door_and_decorator(world: World) -> Row:
    view = require_fb_token(scopes=["email"])(_hello_fb)
    app = FBTokenMiddleware(_site(view).wsgi_app, world.guard, policy=POLICY)
    return Row(protocol="WSGI", app=app, base=FLASK)


def decorator_alone(world: World) -> Row:
    view = require_fb_token(scopes=NEEDED)(_hello_fb)
    app = FBTokenMiddleware(_site(view).wsgi_app, world.guard, policy=None)
    return Row(protocol="WSGI", app=app, base=FLASK)


def http_auth(world: World) -> Row:
    module: Any = importlib.import_module("flask_httpauth")
    auth = module.HTTPTokenAuth()
    grants = world.grants

    def verify(token: str) -> Grant | None:
        grant = grants.get(token)
        return None if grant is None or grant.expires <= time.time() else grant

    def roles(grant: Grant) -> list[str]:
        return list(grant.scopes)  # of anything but a list or a tuple it makes one role

    def hello() -> Response:
        return _answer(auth.current_user().user_id)

    auth.verify_token(verify)
    auth.get_user_roles(roles)

    guarded: Any = auth.login_required(role=[list(NEEDED)])(hello)
    return Row(protocol="WSGI", app=_site(guarded), base=FLASK)


def authlib(world: World) -> Row:
    module: Any = importlib.import_module("authlib.integrations.flask_oauth2")
    protector = module.ResourceProtector()
    protector.register_token_validator(authlib_validator(world))

    def hello() -> Response:
        return _answer(module.current_token.user_id)

    guarded: Any = protector([" ".join(NEEDED)])(hello)
    return Row(protocol="WSGI", app=_site(guarded), base=FLASK)


def jwt_extended(_world: World) -> Row:
    module: Any = importlib.import_module("flask_jwt_extended")
    needed = frozenset(NEEDED)

    def hello() -> Response:
        if not needed.issubset(module.get_jwt()["scope"].split()):
            abort(403)
        return _answer(module.get_jwt_identity())

    app = _site(module.jwt_required()(hello))
    app.config["JWT_SECRET_KEY"] = KEY.decode()
    module.JWTManager(app)

    def token(scopes: tuple[str, ...]) -> str:
        with app.app_context():
            made: str = module.create_access_token(
                USER, additional_claims={"scope": " ".join(scopes)}, expires_delta=timedelta(seconds=DAY)
            )
        return made

    good = token(SCOPES)
    head, _, signature = good.rpartition(".")
    tokens = Tokens(good, token(POOR), f"{head}.{signature[::-1]}")
    return Row(protocol="WSGI", app=app, base=FLASK, tokens=tokens)


PEERS: Final = {
    FLASK: bare,
    "Flask no-op": no_op,
    "Flask floor": floor,
    "Flask fbguard": door,
    "Flask fbguard + require_fb_token": door_and_decorator,
    "Flask fbguard, require_fb_token alone": decorator_alone,
    "Flask-HTTPAuth token": http_auth,
    "Flask Authlib ResourceProtector": authlib,
    "flask-jwt-extended HS256": jwt_extended,
}
