"""What the oracle reads before it judges: Authorization headers, and the bytes of a reply of Graph.

Written from the design alone, beside the package, like ``oracle.py``: it imports nothing of fbguard and
shares no table with it. Each rule stands next to the number of the section it was read from.

The design states how a header must look (3 and 11.8), that the parser is strict and refuses duplicate keys
and NaN (10), and which members a reply must have (11.6). A rule marked "silent" is one on which it says
nothing beyond "deny"; there the choice was made once, here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Verdict = tuple[int, str]
OK: Verdict = (200, "ok")
DONT_KNOW: Verdict = (503, "unavailable")
YEAR_9999 = 253_402_300_799  # silent on the bound: what a datetime cannot hold is not seconds


# -- the request


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


# -- the reply


class Refusal(Exception):  # noqa: N818 - it carries a verdict
    """The first rule that does not hold."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def refuse_if(condition: object, status: int, reason: str) -> None:
    if condition:
        raise Refusal((status, reason))


def must(condition: object) -> None:
    """Refuse, as don't-know, what is not so."""
    if not condition:
        raise Refusal(DONT_KNOW)


@dataclass(frozen=True)
class Error:
    """An error of Graph. What it says in a wrong type it has not said."""

    code: int  # silent on a missing one: taken for 190
    subcode: int | None
    message: str  # in lower case
    is_transient: bool


@dataclass(frozen=True)
class Reply:
    """A readable reply: an error at the top and no data, or data with or without an error inside."""

    error: Error | None
    data: Mapping[str, Any] | None


@dataclass(frozen=True)
class Facts:
    """The members of ``data`` that are judged; 0 is never, or not said."""

    app_id: str | None  # "" when not said, None when said in a way that is no id
    is_valid: bool = False
    type: str = ""
    expires_at: int = 0
    data_access_expires_at: int = 0
    issued_at: int = 0
    scopes: set[str] = field(default_factory=set)
    targets: Mapping[str, set[str] | None] = field(default_factory=dict)  # by scope; None: listed without ids


def read(status: int, body: bytes) -> Reply:
    """Return the parts of a reply: one that cannot be read is don't-know, before anything is judged."""
    document = parse(body)
    must(isinstance(document, dict))
    if "error" in document:
        must("data" not in document)  # 11.6
        return Reply(read_error(document["error"]), None)
    data = document.get("data")
    must(status == 200)  # 11.6
    must(isinstance(data, dict))
    must(type(data.get("is_valid")) is bool)  # 11.6: literally true or false
    return Reply(read_error(data["error"]) if "error" in data else None, data)


def parse(body: bytes) -> Any:
    must(len(body) <= 65_536)  # 11.6, 11.7
    try:  # 10: what the parser refuses is don't-know; UTF-8 without a mark
        return json.loads(body.decode(), object_pairs_hook=members, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Refusal(DONT_KNOW) from None


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    must(len(dict(pairs)) == len(pairs))  # 10: duplicate keys
    return dict(pairs)


def constant(_name: str) -> None:
    raise Refusal(DONT_KNOW)  # 10: NaN, Infinity


def read_error(error: Any) -> Error:
    must(isinstance(error, dict))  # 11.6: in whatever company
    code, message = as_int(error.get("code")), error.get("message")
    return Error(
        code=190 if code is None else code,
        subcode=as_int(error.get("subcode")),
        message=message.lower() if isinstance(message, str) else "",
        is_transient=error.get("is_transient") is True,
    )


def read_facts(reply: Reply) -> Facts:
    """11.6: a missing member, or one that is not as the reference shows it, is don't-know."""
    said = reply.data or {}
    data = {key: value for key, value in said.items() if value is not None}  # silent: null is absent
    must(is_text(data.get("type", "")))  # silent
    if reply.error:  # 11.6: beside an error it does not matter what else is there
        return Facts(as_id(data.get("app_id", "")))
    must(as_id(data.get("app_id")))
    check_user_id(data)
    must(is_text(data.get("application", "")))  # silent
    must(as_id(data.get("profile_id", "")) is not None)  # silent
    return Facts(
        app_id=as_id(data["app_id"]),
        is_valid=data["is_valid"],
        type=data.get("type", ""),
        expires_at=moment(data, "expires_at", optional=data.get("type") == "APP"),
        data_access_expires_at=moment(data, "data_access_expires_at"),
        issued_at=moment(data, "issued_at"),
        scopes=read_scopes(data.get("scopes", [])),
        targets=read_targets(data.get("granular_scopes", [])),
    )


def check_user_id(data: Mapping[str, Any]) -> None:
    """11.6 for a token of a user; silent: so it must look on any token, but others may have none."""
    if "user_id" not in data:
        must(data.get("type") != "USER")
        return
    user_id = as_id(data["user_id"])
    must(user_id and re.fullmatch(r"[0-9]{1,32}", user_id))
    must(user_id != "0")


def moment(data: Mapping[str, Any], key: str, *, optional: bool = True) -> int:
    if optional and key not in data:
        return 0
    value = as_int(data.get(key))
    must(value is not None and 0 <= value <= YEAR_9999)
    return value or 0


def read_scopes(scopes: Any) -> set[str]:
    must(isinstance(scopes, list))  # silent
    must(all(is_text(scope) for scope in scopes))
    return set(scopes)


def read_targets(grants: Any) -> dict[str, set[str] | None]:
    must(isinstance(grants, list))  # silent, to the end
    targets: dict[str, set[str] | None] = {}
    for grant in grants:
        must(isinstance(grant, dict))
        must(is_text(grant.get("scope")))
        must(grant["scope"] not in targets)
        targets[grant["scope"]] = read_ids(grant["target_ids"]) if "target_ids" in grant else None
    return targets


def read_ids(values: Any) -> set[str]:
    must(isinstance(values, list))
    must(all(as_id(value) is not None for value in values))
    return {as_id(value) or "" for value in values}


def as_int(value: object) -> int | None:
    return value if type(value) is int else None  # true is not 1


def is_text(value: object) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)  # half a character is none


def as_id(value: object) -> str | None:
    """11.6: a JSON integer is read as its decimal string; silent: for every kind of id."""
    return str(value) if type(value) is int else value if isinstance(value, str) and is_text(value) else None
