"""The control API: the sandbox's methods for programs that are not in its process."""

from __future__ import annotations

import json
from dataclasses import asdict
from inspect import signature
from typing import TYPE_CHECKING, cast

from fbguard.sandbox.wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fbguard.sandbox.sandbox import Sandbox

_PREFIX = "/sandbox/"


def is_control(path: str) -> bool:
    """Tell whether a path belongs to the control API rather than to Graph."""
    return path.startswith(_PREFIX)


def control(sandbox: Sandbox, request: Request) -> Reply:
    """Answer one call of the control API.

    ``POST /sandbox/<method>`` takes the method's keywords as a JSON object and answers
    ``{"result": ...}``; ``GET /sandbox/calls`` answers the calls so far. Errors are
    ``{"error": "..."}``: 404 for an unknown method, 405 for the wrong verb, 400 for wrong keywords.
    """
    name = request.path.removeprefix(_PREFIX)
    if name == "calls":
        if request.method != "GET":
            return _error(405, "use GET")
        return json_reply({"result": [asdict(call) for call in sandbox.calls]})
    method = _methods(sandbox).get(name)
    if method is None:
        return _error(404, f"there is no such method; there are {', '.join(sorted(_methods(sandbox)))}")
    if request.method != "POST":
        return _error(405, "use POST")
    try:
        return json_reply({"result": method(**_taken(name, method, _keywords(request.body)))})
    except (TypeError, ValueError, ImportError) as error:
        return _error(400, str(error))


def _taken(name: str, method: Callable[..., object], keywords: dict[str, object]) -> dict[str, object]:
    taken = signature(method).parameters
    unknown = sorted(keywords.keys() - taken.keys())
    if unknown:
        raise TypeError(f"{name} has no {', '.join(unknown)}; it takes {', '.join(taken)}")
    return keywords


def _methods(sandbox: Sandbox) -> Mapping[str, Callable[..., object]]:
    """Return what may be called; an allow-list, so that nothing gets public by being written."""
    return {
        "issue_token": sandbox.issue_token,
        "expire": sandbox.expire,
        "invalidate": sandbox.invalidate,
        "session_key": sandbox.session_key,
        "signed_request": sandbox.signed_request,
        "permissions_event": sandbox.permissions_event,
        "issue_id_token": sandbox.issue_id_token,
        "rotate_signing_keys": sandbox.rotate_signing_keys,
        "log_in": sandbox.log_in,
        "log_out": sandbox.log_out,
        "change_password": sandbox.change_password,
        "remove_app": sandbox.remove_app,
        "checkpoint": sandbox.checkpoint,
        "unconfirm": sandbox.unconfirm,
        "restore": sandbox.restore,
        "require_proof": sandbox.require_proof,
        "throttle": sandbox.throttle,
        "fail": sandbox.fail,
        "batch": sandbox.batch,
        "recover": sandbox.recover,
        "advance": sandbox.clock.advance,
    }


def _keywords(body: bytes) -> dict[str, object]:
    """Return the keywords in a body; none in an empty one."""
    if not body.strip():
        return {}
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(read, dict):
        raise TypeError("the body must be a JSON object")
    return cast("dict[str, object]", read)


def _error(status: int, text: str) -> Reply:
    return json_reply({"error": text}, status)
