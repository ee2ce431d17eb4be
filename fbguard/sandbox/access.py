"""Who makes a Graph call: the access token that came with it, checked as Graph checks it."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from fbguard.sandbox import tokens
from fbguard.sandbox.errors import GRAPH_METHOD, GraphError
from fbguard.sandbox.tokens import Unreadable
from fbguard.sandbox.world import App, IssuedToken, World

if TYPE_CHECKING:
    from fbguard.sandbox.wire import Request

_INVALID_TOKEN = 190
_NO_TOKEN = "An access token is required to request this resource."  # noqa: S105 - a message
_NOBODY = "An active access token must be used to query information about the current user."
_PROOF_MISSING = "API calls from the server require an appsecret_proof argument"
_PROOF_WRONG = "Invalid appsecret_proof provided in the API argument"
_PROOF_LIFETIME = 300  # seconds; the login security guide gives a timed proof five minutes
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")
_SCHEMES = frozenset({"bearer", "oauth"})


def caller(world: World, request: Request, now: float) -> App | IssuedToken | None:
    """Return whose token the call carries: our app's, a living token's record, or None for none.

    Raises GraphError 190 for a token that is not alive, and 100 for an ``appsecret_proof`` that
    does not belong to it or is missing.
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
    _check_proof(world, found, request, token, now)
    return found


def identified(world: World, request: Request, now: float) -> App | IssuedToken:
    """Return whose token the call carries, as ``caller`` does; a call without one is refused."""
    who = caller(world, request, now)
    if who is None:
        raise GraphError(_NO_TOKEN, 104)
    return who


def current(world: World, request: Request, now: float) -> IssuedToken:
    """Return the token of the person or page that ``me`` means; an app is nobody."""
    who = caller(world, request, now)
    if not isinstance(who, IssuedToken) or not who.subject:
        raise GraphError(_NOBODY, 2500)
    return who


def _sent(request: Request) -> str | None:
    """Return the token of the call; the parameter wins over the header."""
    sent = request.param("access_token")
    if sent:
        return sent
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() or None if scheme.lower() in _SCHEMES else None


def _check_proof(world: World, found: App | IssuedToken, request: Request, token: str, now: float) -> None:
    """Refuse a proof that does not fit, and none where the app's settings ask for one.

    That setting wants the app's secret or a proof of it; an app's own token counts as the former. A
    proof is keyed with the secret of the token's own app, which here is known of one app only.
    """
    ours = found.app_id == world.app.app_id
    proof = request.param("appsecret_proof")
    if proof is None:
        if world.proof_required and ours and isinstance(found, IssuedToken):
            raise GraphError(_PROOF_MISSING, 100, kind=GRAPH_METHOD)
        return
    if not ours or not _proves(world.app.secret, proof, token, request.param("appsecret_time"), now):
        raise GraphError(_PROOF_WRONG, 100, kind=GRAPH_METHOD)


def _proves(secret: str, proof: str, token: str, moment: str | None, now: float) -> bool:
    """Tell whether a proof was made for the token, and for this moment if it names one."""
    message = token
    if moment is not None:
        if not _UNIX_SECONDS.fullmatch(moment) or abs(now - int(moment)) > _PROOF_LIFETIME:
            return False
        message = f"{token}|{moment}"
    return proof == hmac.digest(secret.encode(), message.encode(), hashlib.sha256).hex()
