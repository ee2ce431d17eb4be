"""What happens to tokens and to Facebook before a request of the table is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from fbguard.sandbox import Sandbox

USER = "1001"
_DAY = 86_400
PAGE_SCOPE = "pages_manage_posts"
Granular = dict[str, list[str] | None]


def token(**facts: Any) -> Callable[[Sandbox], str]:
    """Return what issues a token to the user."""
    return lambda sandbox: sandbox.issue_token(**({"user_id": USER} | facts))


def id_token(**facts: Any) -> Callable[[Sandbox], str]:
    """Return what logs the user in with Limited Login."""
    return lambda sandbox: sandbox.issue_id_token(**({"user_id": USER} | facts))


def of_page(granular: Granular | None) -> Callable[[Sandbox], str]:
    return token(scopes=["public_profile", PAGE_SCOPE], granular_scopes=granular)


def ended(how: str) -> Callable[[Sandbox], str]:
    """Return what issues a token to somebody and lets something happen to that person."""

    def issue(sandbox: Sandbox) -> str:
        user_id = str(time.monotonic_ns())
        issued = sandbox.issue_token(user_id=user_id)
        getattr(sandbox, how)(user_id)
        return issued

    return issue


def over(how: str) -> Callable[[Sandbox], str]:
    """Return what issues a token and ends it."""

    def issue(sandbox: Sandbox) -> str:
        issued = sandbox.issue_token()
        getattr(sandbox, how)(issued)
        return issued

    return issue


def told(code: int, subcode: int | None = None, message: str = "Error.") -> Callable[[Sandbox], str]:
    """Return what issues a token of which Graph will say that it is dead, in a way of ours."""
    error: dict[str, Any] = {"code": code, "message": message}
    if subcode is not None:
        error["subcode"] = subcode
    return hostile(is_valid=False, error=error)


def hostile(**changes: Any) -> Callable[[Sandbox], str]:
    """Return what issues a token of which Graph will say this."""

    def issue(sandbox: Sandbox) -> str:
        now = int(time.time())
        data = {
            "app_id": sandbox.app_id,
            "type": "USER",
            "application": "fbguard sandbox",
            "data_access_expires_at": now + 90 * _DAY,
            "expires_at": now + 3600,
            "is_valid": True,
            "scopes": ["public_profile"],
            "user_id": USER,
        }
        if "issued_ago" in changes:
            data["issued_at"] = now - changes["issued_ago"]
        data |= {key: value for key, value in changes.items() if key != "issued_ago"}
        sandbox.fail(200, json.dumps({"data": data}), times=1)
        return sandbox.issue_token()

    return issue


def literal(text: str) -> Callable[[Sandbox], str]:
    return lambda _: text


def throttled(code: int) -> Callable[[Sandbox], str]:
    """Return what issues a good token while Graph answers everything with this code."""

    def issue(sandbox: Sandbox) -> str:
        sandbox.throttle(code)
        return sandbox.issue_token(scopes=["email"])

    return issue


def failing(status: int = 500, body: str = "", **how: Any) -> Callable[[Sandbox], str]:
    """Return what issues a good token while Graph answers everything with this."""

    def issue(sandbox: Sandbox) -> str:
        sandbox.fail(status, body, **how)
        return sandbox.issue_token(scopes=["email"])

    return issue


USER_TOKEN = token()
WITH_EMAIL = token(scopes=["public_profile", "email"])
EXPIRED = over("expire")
LONG_LIVED = token(expires_in=60 * _DAY)
OUR_CREDENTIAL = json.dumps({"error": {"message": "Bad.", "type": "OAuthException", "code": 190}})
OIDC = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMDAxIn0.c2lnbmF0dXJl"
