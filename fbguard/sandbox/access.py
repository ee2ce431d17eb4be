"""Who makes a Graph call: the access token that came with it, checked as Graph checks it."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from fbguard.sandbox import tokens
from fbguard.sandbox.errors import GRAPH_METHOD, GraphError
from fbguard.sandbox.tokens import Unreadable
from fbguard.sandbox.world import App, IssuedToken, World

if TYPE_CHECKING:
    from fbguard.sandbox.wire import Request

_INVALID_TOKEN = 190
_PROOF_LIFETIME = 300  # seconds; the login security guide gives a timed proof five minutes
_SCHEMES = frozenset({"bearer", "oauth"})


def caller(world: World, request: Request, now: float) -> App | IssuedToken | None:
    """Return whose token the call carries: our app's, a living token's record, or None for none.

    Raises GraphError 190 for a token that is not alive, and 100 for an ``appsecret_proof`` that
    does not belong to it.
    """
    token = _sent(request)
    if token is None:
        return None
    found = tokens.read(world, token)
    if isinstance(found, Unreadable):
        raise GraphError(found.message, _INVALID_TOKEN)
    if isinstance(found, IssuedToken):
        end = tokens.ending(world, found, now)
        if end is not None:
            raise GraphError(end.message, _INVALID_TOKEN, subcode=end.subcode)
        if found.type == "APP" and found.app_id == world.app.app_id:
            found = world.app
    _check_proof(world.app, request, token, now)
    return found


def _sent(request: Request) -> str | None:
    """Return the token of the call; the parameter wins over the header."""
    sent = request.param("access_token")
    if sent:
        return sent
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() or None if scheme.lower() in _SCHEMES else None


def _check_proof(app: App, request: Request, token: str, now: float) -> None:
    """Refuse a proof that does not fit; a call without one passes, as for an app that asks for none."""
    proof = request.param("appsecret_proof")
    if proof is None:
        return
    message = token
    moment = request.param("appsecret_time")
    if moment is not None:
        message = f"{token}|{moment}"
    expected = hmac.digest(app.secret.encode(), message.encode(), hashlib.sha256).hex()
    fresh = moment is None or (moment.isdecimal() and abs(now - int(moment)) <= _PROOF_LIFETIME)
    if proof != expected or not fresh:
        raise GraphError("Invalid appsecret_proof provided in the API argument", 100, kind=GRAPH_METHOD)
