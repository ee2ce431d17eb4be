"""``GET /debug_token``: what the Graph API debug_token reference says it answers."""

from __future__ import annotations

from fbguard.sandbox import tokens
from fbguard.sandbox.access import caller
from fbguard.sandbox.errors import INVALIDATED, GraphError
from fbguard.sandbox.tokens import Unreadable
from fbguard.sandbox.wire import Reply, Request, json_reply
from fbguard.sandbox.world import App, IssuedToken, World

_INVALID_TOKEN = 190
_NOT_OUR_TOKEN = "(#100) The App_id in the input_token did not match the Viewing App"  # noqa: S105 - a message
_NO_APP_TOKEN = (
    "(#100) You must provide an app access token, or a user access token"  # noqa: S105 - a message
    " that is an owner or developer of the app"
)
_NO_INPUT = "(#100) For field 'debug_token': The parameter input_token is required"


def debug_token(world: World, request: Request, now: float) -> Reply:
    """Answer with the facts of ``input_token``, valid or not, to a call made by the app itself.

    Nobody has a role on the sandbox's app, so a user's own token never opens this endpoint.
    """
    if not isinstance(caller(world, request, now), App):
        raise GraphError(_NO_APP_TOKEN, 100)
    token = request.param("input_token")
    if not token:
        raise GraphError(_NO_INPUT, 100)
    return json_reply({"data": _inspect(world, token, now)})


def _inspect(world: World, token: str, now: float) -> dict[str, object]:
    found = tokens.read(world, token)
    if isinstance(found, Unreadable):
        error = {"code": _INVALID_TOKEN, "message": found.message}
        return {"error": error, "is_valid": False, "scopes": []}
    if isinstance(found, App):
        return {**_app_facts(found), "is_valid": True, "scopes": []}
    if found.app_id != world.app.app_id:
        raise GraphError(_NOT_OUR_TOKEN, 100)
    return _facts(world, found, now)


def _app_facts(app: App, kind: str = "APP") -> dict[str, object]:
    return {"app_id": app.app_id, "type": kind, "application": app.name}


def _facts(world: World, record: IssuedToken, now: float) -> dict[str, object]:
    """Return ``data``, its keys in the order and under the conditions of recorded replies."""
    end = tokens.ending(world, record, now)
    revoked = end is not None and end.subcode == INVALIDATED
    timed = record.type != "APP"
    data = _app_facts(world.app, record.type)
    if timed:
        data["data_access_expires_at"] = record.data_access_expires_at
    if end is not None:
        # `subcode` here, `error_subcode` at the top level: the platform uses both.
        data["error"] = {"code": _INVALID_TOKEN, "message": end.message, "subcode": end.subcode}
    if timed:
        data["expires_at"] = record.expires_at
    data["is_valid"] = end is None
    if timed and record.long_lived:
        data["issued_at"] = record.issued_at
    if record.profile_id is not None:
        data["profile_id"] = record.profile_id
    # A token that was revoked through the API has lost its permissions; other dead ones still list them.
    data["scopes"] = [] if revoked else list(record.scopes)
    if record.granular_scopes is not None and not revoked:
        data["granular_scopes"] = [
            {"scope": scope} if ids is None else {"scope": scope, "target_ids": list(ids)}
            for scope, ids in record.granular_scopes
        ]
    if record.user_id is not None:
        data["user_id"] = record.user_id
    return data
