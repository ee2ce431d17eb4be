"""Guards around an app that is no framework's: fbguard, the floor, PyJWT and Authlib's protector."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.floor import AsgiFloor, WsgiFloor
from benchmarks.hit import POLICY, SCOPES
from benchmarks.sides import AsgiNoOp, WsgiNoOp, asgi_app, wsgi_app
from benchmarks.world import DAY, NEEDED, POOR, USER, Row, Tokens, World
from fbguard import asgi, wsgi
from fbguard.asgi import ASGIApp, Receive, Scope, Send
from fbguard.context import TOKEN

ASGI: Final = "ASGI app"
WSGI: Final = "WSGI app"
USER_KEY: Final = "benchmark.user"  # where gates put the user id
KEY: Final = b"a key of HMAC that is long enough for SHA-256"

_NEEDED: Final = frozenset(NEEDED)

Authenticate = Callable[[Scope], str]  # returns the user id; raises LookupError


class AsgiGate:
    """A middleware as one writes it around a library: ``authenticate`` does the library's part."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            scope[USER_KEY] = self._authenticate(scope)
        except LookupError:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


def bearer_of(scope: Scope) -> str:
    """Return a request's token by reading its raw headers; raises LookupError."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            token: bytes = value[7:]
            return token.decode("latin-1")
    raise LookupError


def has_user(carrier: dict[str, Any]) -> bool:
    """Be the proof of what gates tell."""
    return carrier.get(USER_KEY) == USER


def has_facts(carrier: dict[str, Any]) -> bool:
    """Be the proof of what fbguard and its floor tell."""
    info = carrier.get(TOKEN)
    return info is not None and info.user_id == USER


def asgi_bare(_world: World) -> Row:
    return Row(protocol="ASGI", app=asgi_app, base=None, guards=False)


def asgi_no_op(_world: World) -> Row:
    return Row(protocol="ASGI", app=AsgiNoOp(asgi_app), base=ASGI, guards=False)


def asgi_floor(world: World) -> Row:
    return Row(protocol="ASGI", app=AsgiFloor(asgi_app, world.judge), base=ASGI, proof=has_facts)


def asgi_door(world: World) -> Row:
    door = asgi.FBTokenMiddleware(asgi_app, world.guard, policy=POLICY)
    return Row(protocol="ASGI", app=door, base=ASGI, proof=has_facts)


def wsgi_bare(_world: World) -> Row:
    return Row(protocol="WSGI", app=wsgi_app, base=None, guards=False)


def wsgi_no_op(_world: World) -> Row:
    return Row(protocol="WSGI", app=WsgiNoOp(wsgi_app), base=WSGI, guards=False)


def wsgi_floor(world: World) -> Row:
    return Row(protocol="WSGI", app=WsgiFloor(wsgi_app, world.judge), base=WSGI, proof=has_facts)


def wsgi_door(world: World) -> Row:
    door = wsgi.FBTokenMiddleware(wsgi_app, world.guard, policy=POLICY)
    return Row(protocol="WSGI", app=door, base=WSGI, proof=has_facts)


def claims_of(user_id: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Return what a JWT of this user says."""
    now = int(time.time())
    return {"sub": user_id, "scope": " ".join(scopes), "iat": now, "exp": now + int(DAY)}


def jwt_tokens(key: Any, algorithm: str) -> Tokens:
    """Return tokens signed with ``key``; the wrong one is signed, too, and was changed afterwards."""
    jwt: Any = importlib.import_module("jwt")
    good: str = jwt.encode(claims_of(USER, SCOPES), key, algorithm=algorithm)
    poor: str = jwt.encode(claims_of(USER, POOR), key, algorithm=algorithm)
    head, _, signature = good.rpartition(".")
    return Tokens(good, poor, f"{head}.{signature[::-1]}")


def hs256(_world: World) -> Row:
    return _jwt_row(KEY, KEY, "HS256")


def rs256(_world: World) -> Row:
    rsa: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return _jwt_row(private, private.public_key(), "RS256")


def _jwt_row(private: Any, public: Any, algorithm: str) -> Row:
    jwt: Any = importlib.import_module("jwt")
    decode, invalid = jwt.decode, jwt.InvalidTokenError
    algorithms = [algorithm]

    def authenticate(scope: Scope) -> str:
        try:
            claims: dict[str, Any] = decode(bearer_of(scope), public, algorithms=algorithms)
        except invalid as exc:
            raise LookupError from exc
        if not _NEEDED.issubset(claims["scope"].split()):
            raise LookupError
        user: str = claims["sub"]
        return user

    tokens = jwt_tokens(private, algorithm)
    return Row(
        protocol="ASGI", app=AsgiGate(asgi_app, authenticate), base=ASGI, tokens=tokens, proof=has_user
    )


def authlib_validator(world: World) -> Any:
    """Return a validator of Authlib that looks tokens up in memory; its tokens have a ``user_id``."""
    rfc6750: Any = importlib.import_module("authlib.oauth2.rfc6750")
    base: Any = rfc6750.BearerTokenValidator

    class Token:
        def __init__(self, user_id: str, scope: str, expires: float) -> None:
            self.user_id = user_id
            self.scope = scope
            self.expires = expires

        def is_expired(self) -> bool:
            return self.expires <= time.time()

        def is_revoked(self) -> bool:
            return False

        def get_scope(self) -> str:
            return self.scope

    known = {
        token: Token(grant.user_id, " ".join(sorted(grant.scopes)), grant.expires)
        for token, grant in world.grants.items()
    }

    def authenticate_token(_self: Any, token_string: str) -> Token | None:
        return known.get(token_string)

    return type("Validator", (base,), {"authenticate_token": authenticate_token})()


def authlib(world: World) -> Row:
    protectors: Any = importlib.import_module("authlib.oauth2.rfc6749")
    errors: Any = importlib.import_module("authlib.oauth2")
    datastructures: Any = importlib.import_module("starlette.datastructures")
    headers, error = datastructures.Headers, errors.OAuth2Error
    protector = protectors.ResourceProtector()
    protector.register_token_validator(authlib_validator(world))
    scopes = [" ".join(NEEDED)]

    class Request:
        def __init__(self, scope: Scope) -> None:
            self.headers = headers(scope=scope)

    def authenticate(scope: Scope) -> str:
        try:
            user: str = protector.validate_request(scopes, Request(scope)).user_id
        except error as exc:
            raise LookupError from exc
        return user

    return Row(protocol="ASGI", app=AsgiGate(asgi_app, authenticate), base=ASGI, proof=has_user)


PEERS: Final = {
    ASGI: asgi_bare,
    "ASGI no-op": asgi_no_op,
    "ASGI floor": asgi_floor,
    "ASGI fbguard": asgi_door,
    "ASGI PyJWT HS256": hs256,
    "ASGI PyJWT RS256": rs256,
    "ASGI Authlib ResourceProtector": authlib,
    WSGI: wsgi_bare,
    "WSGI no-op": wsgi_no_op,
    "WSGI floor": wsgi_floor,
    "WSGI fbguard": wsgi_door,
}
