"""The oracle: what the design says a reply of Graph must come to on a route.

Written from the design alone, beside the package: it imports nothing of fbguard and shares no table with
it. Each rule stands next to the number of the section it was read from. The bytes of the reply, and the
Authorization headers, are read in ``oracle_wire.py``.

The design states the order of judgement and the table of reasons (4), the requirement's arguments (2), and
the edges (11.6). A rule marked "silent" is one on which it says nothing beyond "deny"; there the choice of
status or reason was made once, here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.oracle_wire import OK, Error, Facts, Refusal, Verdict, credential, read, read_facts, refuse_if

__all__ = ["OK", "Verdict", "credential", "oracle"]

Need = Mapping[str, Any]  # the arguments of a Requirement
Params = Mapping[str, object]

# 4, the table of reasons
THROTTLED = {4, 9, 17, 32, 341, 368, 613, *range(80000, 80015)}
TRANSIENT = {1, 2, 960}
CODES = {326: "checkpointed", 412: "not_authorized"}
SUBCODES = {458: "not_authorized", 459: "checkpointed", 460: "password_changed", 463: "expired"}
SUBCODES |= {464: "unconfirmed_user", 466: "session_invalidated", 467: "logged_out", 490: "checkpointed"}
SUBCODES |= {492: "role_lost", 493: "app_inactive"}
MESSAGES = {  # where a subcode is missing, the first hit decides, case-insensitively
    "session has expired": "expired",
    "not a confirmed user": "unconfirmed_user",
    "has not authorized application": "not_authorized",
    "user logged out": "logged_out",
    "changed the password|does not match current stored session": "password_changed",
    "has been invalidated|invalidated explicitly": "session_invalidated",
    "cannot parse|could not be decrypted|malformed access token": "malformed_token",
    "^(?=.*session key).*is malformed": "malformed_token",
}


def oracle(status: int, body: bytes, need: Need, params: Params, app_id: str, now: float) -> Verdict:
    """Return what a route with this need answers, by debug_token's reply; 4, the order of judgement."""
    try:
        reply = read(status, body)
        if reply.error:
            judge_error(reply.error, reply.data)
        facts = read_facts(reply)
        judge_token(facts, reply.error, app_id, now)
        judge_need(facts, need, now)
        judge_target(facts, need, params)
    except Refusal as refusal:
        return refusal.verdict
    return OK


def judge_error(error: Error, data: Mapping[str, Any] | None) -> None:
    """Judge what comes before the app id; silent on which name wins when two of these fit."""
    refuse_if(error.code in THROTTLED, 503, "throttled")
    refuse_if(error.is_transient or error.code in TRANSIENT, 503, "unavailable")
    refuse_if(data is None and is_other_app(error), 401, "wrong_app")
    # 4: a top-level error is about our credential; 11.6: one beside is_valid is a contradiction
    refuse_if(data is None or data["is_valid"], 503, "unavailable")


def judge_token(facts: Facts, error: Error | None, app_id: str, now: float) -> None:
    """Judge what does not depend on the route."""
    refuse_if(facts.app_id not in {"", app_id}, 401, "wrong_app")  # 11.6; silent: an empty one is missing
    refuse_if(error, 401, reason_of(error) if error else "")
    refuse_if(not facts.is_valid, 401, "invalid_token")
    refuse_if(0 < facts.expires_at <= now, 401, "expired")  # 11.6: now is past


def is_other_app(error: Error) -> bool:
    return error.code == 100 and "did not match the viewing app" in error.message


def reason_of(error: Error) -> str:
    """4, the table."""
    if is_other_app(error):
        return "wrong_app"
    if error.code not in {190, 102}:
        return CODES.get(error.code, "invalid_token")  # 450-455 among them; 11.6: unknown codes
    if error.subcode is not None:
        return SUBCODES.get(error.subcode, "invalid_token")
    hits = (reason for text, reason in MESSAGES.items() if re.search(text, error.message, re.DOTALL))
    return next(hits, "invalid_token")


def judge_need(facts: Facts, need: Need, now: float) -> None:
    """2, what a requirement asks for, but for the target."""
    ends, login, access = facts.expires_at, facts.issued_at, facts.data_access_expires_at
    refuse_if(facts.type not in need.get("token_types", ("USER",)), 401, "wrong_token_type")
    refuse_if(ends and ends - now < need.get("min_remaining", 0), 401, "expires_soon")
    oldest = need.get("max_login_age")
    refuse_if(oldest is not None and (not login or now - login > oldest), 401, "login_too_old")  # unknown too
    asks_scopes = need.get("scopes") or need.get("any_scope")
    refuse_if(asks_scopes and 0 < access <= now, 401, "data_access_expired")  # 4; 11.6: now is past
    refuse_if(not are_enough(facts.scopes, need), 403, "insufficient_scope")


def judge_target(facts: Facts, need: Need, params: Params) -> None:
    """2: among the ids of every one of ``scopes``; with ``any_scope``, of one granted scope."""
    target = need.get("target")
    if target is None:
        return
    wanted = str(params[target]) if isinstance(target, str) else target(params)
    reach = set()
    for scope in facts.scopes if wanted is not None else ():  # None refuses
        ids = facts.targets.get(scope, set() if facts.targets else None)  # missing from a list: none
        if ids is None or wanted in ids:  # without ids: all targets; an empty list: none
            reach.add(scope)
    refuse_if(not are_enough(reach, need), 403, "insufficient_target")


def are_enough(scopes: set[str], need: Need) -> bool:
    """2: all of ``scopes``, and one of ``any_scope`` where that is asked for."""
    all_of, any_of = set(need.get("scopes", ())), set(need.get("any_scope", ()))
    return all_of <= scopes and (not any_of or bool(any_of & scopes))
