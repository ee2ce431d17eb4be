"""The oracle: what the design says a credential and a reply of Graph must come to.

Written from the design alone, beside the package: it imports nothing of fbguard and shares no table with
it. Each rule stands next to the number of the section it was read from. A rule marked "silent" is one on
which the design says nothing beyond "deny"; there the choice of status or reason was made once, here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Verdict = tuple[int, str]
OK: Verdict = (200, "ok")
DONT_KNOW: Verdict = (503, "unavailable")

THROTTLED = {4, 9, 17, 32, 341, 368, 613, *range(80000, 80015)}  # 4, the table of reasons, from here on
TRANSIENT = {1, 2, 960}
CODES = {326: "checkpointed", 412: "not_authorized"}
SUBCODES = {458: "not_authorized", 459: "checkpointed", 460: "password_changed", 463: "expired"}
SUBCODES |= {464: "unconfirmed_user", 466: "session_invalidated", 467: "logged_out", 490: "checkpointed"}
SUBCODES |= {492: "role_lost", 493: "app_inactive"}
MESSAGES = {  # 4: where a subcode is missing, the first hit decides, case-insensitively
    "session has expired": "expired",
    "not a confirmed user": "unconfirmed_user",
    "has not authorized application": "not_authorized",
    "user logged out": "logged_out",
    "changed the password|does not match current stored session": "password_changed",
    "has been invalidated|invalidated explicitly": "session_invalidated",
    "cannot parse|could not be decrypted|malformed access token": "malformed_token",
    "^(?=.*session key).*is malformed": "malformed_token",
}
YEAR_9999 = 253_402_300_799  # silent on the bound: what a datetime cannot hold is not seconds


class Said(Exception):  # noqa: N818 - it carries a verdict
    """The first rule that answers."""


def say(condition: object, verdict: Verdict) -> None:
    if condition:
        raise Said(verdict)


def credential(values: Sequence[str]) -> str | Verdict | None:
    """Return the token in the Authorization headers, or the refusal, or None for no credential."""
    if len(values) > 1 or any("," in value for value in values):  # 11.8, whatever the scheme
        return 400, "invalid_request"
    if not values:
        return None
    value = values[0].strip(" \t")  # 3: white space around a value is HTTP's
    if not re.fullmatch(r"[\t -~]+", value):  # 3: empty is malformed; silent: so is what is not ASCII text
        return 401, "malformed_token"
    if re.split(r"[ \t]", value)[0].lower() != "bearer":  # 11.8: another scheme is no credential
        return None
    token = re.fullmatch(r".{6} ([A-Za-z0-9._~+/-]+=*)", value)  # 3: exactly one space
    if token is None or len(token[1]) > 4096:  # 3: the longest
        return 401, "malformed_token"
    is_oidc = token[1].startswith("eyJ") and token[1].count(".") == 2  # 11.8
    return (401, "limited_login") if is_oidc else token[1]


def oracle(
    status: int, body: bytes, need: Mapping[str, Any], params: Mapping[str, object], app_id: str, now: float
) -> Verdict:
    """Return what a route with this need answers, by debug_token's reply; 4, the order of judgement."""
    try:
        data = read(status, body)
        judge_token(data, app_id, now)
        judge_need(data, need, now)
        judge_target(data, need, params)
    except Said as said:
        verdict: Verdict = said.args[0]
        return verdict
    return OK


def read(status: int, body: bytes) -> dict[str, Any]:
    """Return ``data`` of a readable reply, without the members that are null."""
    say(len(body) > 65_536, DONT_KNOW)  # 11.6
    try:  # 10: what the parser refuses is don't-know; UTF-8 without a mark
        reply = json.loads(body.decode(), object_pairs_hook=_members, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise Said(DONT_KNOW) from None
    say(not isinstance(reply, dict), DONT_KNOW)
    if "error" in reply:  # 4: a top-level error is about our credential, except the "other app" case
        error = reply["error"]
        say("data" in reply or not isinstance(error, dict), DONT_KNOW)  # 11.6
        say(undecided(error), (503, undecided(error)))
        say(_other_app(error), (401, "wrong_app"))
        raise Said(DONT_KNOW)
    data = reply.get("data")
    say(status != 200 or not isinstance(data, dict), DONT_KNOW)  # 11.6
    say(type(data.get("is_valid")) is not bool, DONT_KNOW)  # 11.6: literally true or false
    if "error" in data:  # 11.6: in whatever company
        say(not isinstance(data["error"], dict), DONT_KNOW)
        say(undecided(data["error"]), (503, undecided(data["error"])))
        say(data["is_valid"], DONT_KNOW)
    data = {key: value for key, value in data.items() if value is not None}  # silent: null is absent
    say(not _is_text(data.get("type", "")), DONT_KNOW)  # silent
    if "error" not in data:  # 11.6: beside an error it does not matter what else is there
        check_members(data)
    return data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    say(len(dict(pairs)) < len(pairs), DONT_KNOW)  # 10: duplicate keys
    return dict(pairs)


def _constant(_name: str) -> None:
    raise Said(DONT_KNOW)  # 10: NaN, Infinity


def undecided(error: Mapping[str, Any]) -> str:
    """4: an error that says nothing about the token; silent on which name wins when both fit."""
    if _int(error.get("code")) in THROTTLED:
        return "throttled"
    is_transient = error.get("is_transient") is True or _int(error.get("code")) in TRANSIENT
    return "unavailable" if is_transient else ""


def check_members(data: Mapping[str, Any]) -> None:
    """11.6: a missing member, or one that is not as the reference shows it, is don't-know."""
    say(not _id(data.get("app_id")), DONT_KNOW)
    user_id = _id(data.get("user_id", "" if data.get("type") == "USER" else "1"))
    say(not user_id or not re.fullmatch(r"[0-9]{1,32}", user_id) or user_id == "0", DONT_KNOW)
    optional = ["data_access_expires_at", "issued_at"] + ["expires_at"] * (data.get("type") == "APP")
    moments = [_int(data.get(key, 0 if key in optional else None)) for key in {*optional, "expires_at"}]
    say(any(moment is None or not 0 <= moment <= YEAR_9999 for moment in moments), DONT_KNOW)
    say(not _is_text(data.get("application", "")), DONT_KNOW)  # silent, to the end
    say(_id(data.get("profile_id", "")) is None, DONT_KNOW)
    scopes, granular = data.get("scopes", []), data.get("granular_scopes", [])
    say(not isinstance(scopes, list) or not isinstance(granular, list), DONT_KNOW)
    say(not all(_is_text(scope) for scope in scopes), DONT_KNOW)
    for entry in granular:
        say(not isinstance(entry, dict) or not _is_text(entry.get("scope")), DONT_KNOW)
        ids = entry.get("target_ids", [])
        say(not isinstance(ids, list) or any(_id(item) is None for item in ids), DONT_KNOW)
    say(len({entry["scope"] for entry in granular}) < len(granular), DONT_KNOW)


def judge_token(data: Mapping[str, Any], app_id: str, now: float) -> None:
    """Judge what does not depend on the route."""
    theirs = data.get("app_id", "")  # silent: an empty one is a missing one
    say(theirs != "" and _id(theirs) != app_id, (401, "wrong_app"))  # 11.6
    say("error" in data, (401, reason_of(data.get("error", {}))))
    say(not data["is_valid"], (401, "invalid_token"))
    say(0 < data.get("expires_at", 0) <= now, (401, "expired"))  # 11.6: now is past


def reason_of(error: Mapping[str, Any]) -> str:
    """4, the table; silent on a missing code (taken for 190)."""
    code, subcode = _int(error.get("code", 190)), _int(error.get("subcode"))
    if _other_app(error):
        return "wrong_app"
    if code not in {190, 102, None}:
        return CODES.get(code, "invalid_token")  # 450-455 among them; 11.6: unknown codes
    if subcode is not None:
        return SUBCODES.get(subcode, "invalid_token")
    hits = (why for text, why in MESSAGES.items() if re.search(text, _message(error), re.DOTALL))
    return next(hits, "invalid_token")


def judge_need(data: Mapping[str, Any], need: Mapping[str, Any], now: float) -> None:
    ends, login, access = (data.get(key, 0) for key in ("expires_at", "issued_at", "data_access_expires_at"))
    say(data.get("type", "") not in need.get("token_types", ("USER",)), (401, "wrong_token_type"))
    say(ends and ends - now < need.get("min_remaining", 0), (401, "expires_soon"))  # 2
    oldest = need.get("max_login_age")
    say(oldest is not None and (not login or now - login > oldest), (401, "login_too_old"))  # 2: unknown too
    all_of, any_of, granted = _scopes(data, need)
    say((all_of or any_of) and 0 < access <= now, (401, "data_access_expired"))  # 4, 11.6
    say(not all_of <= granted or (any_of and not any_of & granted), (403, "insufficient_scope"))


def judge_target(data: Mapping[str, Any], need: Mapping[str, Any], params: Mapping[str, object]) -> None:
    """2: among the ids of every one of ``scopes``; with ``any_scope``, of one granted scope."""
    target = need.get("target")
    if target is None:
        return
    wanted = str(params[target]) if isinstance(target, str) else target(params)
    listed = {entry["scope"]: entry.get("target_ids") for entry in data.get("granular_scopes", [])}
    all_of, any_of, granted = _scopes(data, need)
    reach = set()  # 2: without ids all targets, an empty list none, a scope missing from a list none
    for scope in granted if wanted is not None else ():  # 2: None refuses
        ids = listed.get(scope, [] if listed else None)
        reach |= {scope} if ids is None or wanted in map(_id, ids) else set()
    say(not all_of <= reach or (any_of and not any_of & reach), (403, "insufficient_target"))


def _scopes(data: Mapping[str, Any], need: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    return set(need.get("scopes", ())), set(need.get("any_scope", ())), set(data.get("scopes", ()))


def _other_app(error: Mapping[str, Any]) -> bool:
    return _int(error.get("code")) == 100 and "did not match the viewing app" in _message(error)


def _message(error: Mapping[str, Any]) -> str:
    return error["message"].lower() if isinstance(error.get("message"), str) else ""


def _int(value: object) -> int | None:
    return value if type(value) is int else None  # true is not 1


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)  # half a character is none


def _id(value: object) -> str | None:
    """11.6: a JSON integer is read as its decimal string; silent: for every kind of id."""
    return str(value) if type(value) is int else value if isinstance(value, str) and _is_text(value) else None
