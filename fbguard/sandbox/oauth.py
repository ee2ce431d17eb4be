"""``/oauth/access_token``: tokens in exchange for what an app holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbguard.sandbox import tokens
from fbguard.sandbox.errors import UNKNOWN_APP, GraphError, session_ended
from fbguard.sandbox.tokens import LONG_LIVED, SHORT_LIVED, Unreadable, app_token
from fbguard.sandbox.wire import Reply, Request, json_reply
from fbguard.sandbox.world import IssuedToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fbguard.sandbox.world import World

_INVALID_TOKEN = 190
# Recorded replies to codes; the subcodes tell them apart.
_CODE_EXPIRED = ("This authorization code has expired.", 36007)
_OTHER_URI = (
    (
        "Error validating verification code. Please make sure your redirect_uri is identical to the one you"
        " used in the OAuth dialog request"
    ),
    36008,
)
_CODE_USED = ("This authorization code has been used.", 36009)


def access_token(world: World, request: Request, now: float) -> Reply:
    """Check the app's id and secret, then hand over to the grant that is asked for."""
    client_id = request.param("client_id")
    if not client_id:
        raise GraphError("Missing client_id parameter.", 101)
    if client_id != world.app.app_id:
        raise GraphError(UNKNOWN_APP, 101)
    if request.param("client_secret") != world.app.secret:
        raise GraphError("Error validating client secret.", 1)
    named = request.param("grant_type")
    if not named and request.param("code") is not None:
        named = "authorization_code"  # which no client of Facebook's has to name
    grant = _GRANTS.get(named or "")
    if grant is None:
        raise GraphError("(#100) Invalid parameter", 100)
    return grant(world, request, now)


def _client_credentials(world: World, request: Request, now: float) -> Reply:
    del request, now  # an app token has no scope and no end
    return json_reply({"access_token": app_token(world.app), "token_type": "bearer"})


def _code(world: World, request: Request, now: float) -> Reply:
    """Give the token for a code that the login dialog gave out: once, and for the same address."""
    code = request.param("code") or ""
    login = world.logins.find(code)
    if login is None:
        raise GraphError("Invalid verification code format.", 100)
    if login.is_used:
        raise _refused(_CODE_USED)
    if login.until <= now:
        raise _refused(_CODE_EXPIRED)
    if request.param("redirect_uri") != login.redirect_uri:
        raise _refused(_OTHER_URI)
    held = world.held(login.user_id)
    if held is not None:
        raise GraphError(session_ended(held, login.user_id, world.app.app_id), _INVALID_TOKEN, subcode=held)
    if not world.logins.use(code):
        raise _refused(_CODE_USED)
    granted = world.granted(login.user_id)
    scopes = tuple(scope for scope in login.scopes if scope in granted)  # some may be taken back by now
    return _issued(tokens.issue(world, login.user_id, scopes, now), SHORT_LIVED)


def _exchange(world: World, request: Request, now: float) -> Reply:
    """Give a long-lived token for a user token that is still good, and stays so."""
    token = request.param("fb_exchange_token")
    if not token:
        raise GraphError("Missing fb_exchange_token parameter", 101)
    record = tokens.read(world, token)
    if isinstance(record, Unreadable):
        raise GraphError(record.message, _INVALID_TOKEN)
    if not isinstance(record, IssuedToken) or record.type != "USER" or record.user_id is None:
        raise GraphError("(#100) Invalid parameter", 100)
    if record.app_id != world.app.app_id:
        raise GraphError(f"The access token does not belong to application {world.app.app_id}", 100)
    ending = tokens.ending(world, record, now)
    if ending is not None:
        raise GraphError(ending.message, _INVALID_TOKEN, subcode=ending.subcode)
    return _issued(tokens.prolong(world, record, now), LONG_LIVED)


def _issued(token: str, seconds: int) -> Reply:
    return json_reply({"access_token": token, "token_type": "bearer", "expires_in": seconds})


def _refused(why: tuple[str, int]) -> GraphError:
    message, subcode = why
    return GraphError(message, 100, subcode=subcode)


_GRANTS: Mapping[str, Callable[[World, Request, float], Reply]] = {
    "authorization_code": _code,
    "client_credentials": _client_credentials,
    "fb_exchange_token": _exchange,
}
