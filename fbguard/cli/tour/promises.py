"""The answers that the design promises, in short; every part that is not named is absent."""

from __future__ import annotations

from typing import Final

from fbguard.cli.steps import Expected

PAGE_ID: Final = "501"
OTHER_APP_ID: Final = "9876543210"
PAGE_SCOPE: Final = "pages_manage_posts"
EMAIL: Final = {"scopes": ["public_profile", "email"]}
OUR_PAGE: Final = {"scopes": [PAGE_SCOPE], "granular_scopes": {PAGE_SCOPE: [PAGE_ID]}}
OTHER_PAGE: Final = {"scopes": [PAGE_SCOPE], "granular_scopes": {PAGE_SCOPE: ["777"]}}


def passes(graph_calls: int = 1) -> Expected:
    """Say that the view answers."""
    return Expected(status=200, graph_calls=graph_calls)


def unauthorized(
    reason: str,
    action: str = "login",
    *,
    graph_calls: int = 1,
    error: str | None = "invalid_token",
    auth_type: str | None = None,
    code: int | None = None,
    subcode: int | None = None,
) -> Expected:
    """Say that it is 401 with a hint."""
    return Expected(
        status=401,
        graph_calls=graph_calls,
        reason=reason,
        action=action,
        auth_type=auth_type,
        error=error,
        code=code,
        subcode=subcode,
    )


def over(reason: str, subcode: int, action: str = "login", graph_calls: int = 1) -> Expected:
    """Say that it is 401 because Graph said 190 with this subcode."""
    return unauthorized(reason, action, code=190, subcode=subcode, graph_calls=graph_calls)


def forbidden(reason: str, scope: str) -> Expected:
    """Say that it is 403 and which permission to ask for."""
    return Expected(
        status=403,
        graph_calls=1,
        reason=reason,
        action="login",
        auth_type="rerequest",
        error="insufficient_scope",
        scope=scope,
    )


def bad_request() -> Expected:
    """Say that it is 400."""
    return Expected(
        status=400, graph_calls=0, reason="invalid_request", action="none", error="invalid_request"
    )


def unknown(reason: str, code: int | None = None) -> Expected:
    """Say that it is 503: nobody can tell."""
    return Expected(status=503, graph_calls=1, reason=reason, action="wait", code=code)
