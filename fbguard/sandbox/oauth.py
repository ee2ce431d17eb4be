"""``/oauth/access_token``: tokens in exchange for what an app holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbguard.sandbox.errors import UNKNOWN_APP, GraphError
from fbguard.sandbox.tokens import app_token
from fbguard.sandbox.wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fbguard.sandbox.world import World


def access_token(world: World, request: Request, now: float) -> Reply:
    """Check the app's id and secret, then hand over to the grant that is asked for."""
    client_id = request.param("client_id")
    if not client_id:
        raise GraphError("Missing client_id parameter.", 101)
    if client_id != world.app.app_id:
        raise GraphError(UNKNOWN_APP, 101)
    if request.param("client_secret") != world.app.secret:
        raise GraphError("Error validating client secret.", 1)
    grant = _GRANTS.get(request.param("grant_type") or "")
    if grant is None:
        raise GraphError("(#100) Invalid parameter", 100)
    return grant(world, request, now)


def _client_credentials(world: World, request: Request, now: float) -> Reply:
    del request, now  # an app token has no scope and no end
    return json_reply({"access_token": app_token(world.app), "token_type": "bearer"})


_GRANTS: Mapping[str, Callable[[World, Request, float], Reply]] = {"client_credentials": _client_credentials}
