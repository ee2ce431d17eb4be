"""``/restserver.php``: Auth.expireSession, the one method of the old REST API that is served.

It speaks the dialect of ``fbguard.facebook.rest``; what a call does here is Facebook's side of it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from fbguard.core.secret import Secret
from fbguard.facebook import rest
from fbguard.facebook.rest_answers import failure, success
from fbguard.sandbox import tokens
from fbguard.sandbox.errors import INVALIDATED, throttled
from fbguard.sandbox.wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fbguard.core.answers import Answer
    from fbguard.sandbox.world import World

PATH = "/restserver.php"
_BAD_REQUEST = 400


def mint_session_key(user_id: str) -> str:
    """Return a new session key in the shape of 2009: 24 hex digits and the person's id."""
    return f"{secrets.token_hex(12)}-{user_id}"


def restserver(world: World, request: Request, now: float) -> Reply:
    """End the session of ``session_key``, which is a session key or an access token of the sandbox's app.

    Signed with the app's secret; the sandbox gives out no session secrets. A session that has ended
    answers 102, as it does to any call of this API that needs one.
    """
    call = rest.Call.of(_boxed(request.query), _boxed(request.form()))
    answer = _answer(world, call, now)
    return Reply(answer.status, tuple(answer.headers), answer.body)


def _answer(world: World, call: rest.Call, now: float) -> Answer:
    if world.throttled is not None:
        limit = throttled(world.throttled, world.app.app_id)
        return failure(call, limit.code, message=limit.message)
    if not call.is_whole:
        return failure(call, rest.BAD_SIGNATURE)
    if call.has_bad_callback:
        return failure(call, rest.BAD_PARAMETER, _BAD_REQUEST)
    code = call.fault or _run(world, call.parameters, now)
    return success(call) if code is None else failure(call, code)


def _run(world: World, parameters: Mapping[str, Secret], now: float) -> int | None:
    if parameters["api_key"] != Secret(world.app.app_id):
        return rest.BAD_API_KEY
    signed = rest.sign(parameters, Secret(world.app.secret))
    if "ss" in parameters or parameters[rest.SIG] != Secret(signed):
        return rest.BAD_SIGNATURE
    token = world.token_of(parameters["session_key"].reveal())
    record = world.find(token)
    if record is None or record.app_id != world.app.app_id or record.type == "APP":
        return rest.BAD_SESSION
    if tokens.ending(world, record, now) is not None:
        return rest.BAD_SESSION
    world.end_token(token, INVALIDATED)
    return None


def _boxed(fields: Mapping[str, str]) -> list[tuple[str, Secret]]:
    return [(name, Secret(value)) for name, value in fields.items()]
