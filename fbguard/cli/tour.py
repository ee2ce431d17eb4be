"""The demo's tour as data: what is asked, with which token, and which answer the design promises.

The expectations are written out here and never computed by the code under test. Every step stands
alone: it logs a person in, lets happen what its ``event`` says, and asks once.
"""

from __future__ import annotations

from typing import Final

from fbguard.cli.steps import Chapter, Expected, Step, nothing, twice

PAGE_ID: Final = "501"
OTHER_APP_ID: Final = "9876543210"


def _passes(graph_calls: int = 1) -> Expected:
    return Expected(status=200, graph_calls=graph_calls)


def _unauthorized(
    reason: str,
    action: str = "login",
    *,
    graph_calls: int = 1,
    error: str | None = "invalid_token",
    auth_type: str | None = None,
    code: int | None = None,
    subcode: int | None = None,
) -> Expected:
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


def _over(reason: str, subcode: int, action: str = "login", graph_calls: int = 1) -> Expected:
    return _unauthorized(reason, action, code=190, subcode=subcode, graph_calls=graph_calls)


def _forbidden(reason: str, scope: str) -> Expected:
    return Expected(
        status=403,
        graph_calls=1,
        reason=reason,
        action="login",
        auth_type="rerequest",
        error="insufficient_scope",
        scope=scope,
    )


def _bad_request() -> Expected:
    return Expected(
        status=400, graph_calls=0, reason="invalid_request", action="none", error="invalid_request"
    )


def _unknown(reason: str, code: int | None = None) -> Expected:
    return Expected(status=503, graph_calls=1, reason=reason, action="wait", code=code)


_PAGE_SCOPE: Final = "pages_manage_posts"
_EMAIL: Final = {"scopes": ["public_profile", "email"]}
_OUR_PAGE: Final = {"scopes": [_PAGE_SCOPE], "granular_scopes": {_PAGE_SCOPE: [PAGE_ID]}}
_OTHER_PAGE: Final = {"scopes": [_PAGE_SCOPE], "granular_scopes": {_PAGE_SCOPE: ["777"]}}

LET_IN: Final = Chapter(
    "Let in",
    (
        Step(
            name="public route, no token",
            path="/health",
            headers=nothing,
            anonymous=True,
            expected=_passes(0),
        ),
        Step(name="valid token", path="/me", expected=_passes()),
        Step(name="same token again, cached", path="/me", cached=True, expected=_passes(0)),
        Step(name="decorator: scope granted", path="/email", token=_EMAIL, expected=_passes()),
        Step(name="rule: page granted", path=f"/pages/{PAGE_ID}", token=_OUR_PAGE, expected=_passes()),
    ),
)

UNASKED: Final = Chapter(
    "Refused without asking Facebook",
    (
        Step(
            name="no token",
            path="/me",
            headers=nothing,
            expected=_unauthorized("missing_token", error=None, graph_calls=0),
        ),
        Step(name="two tokens, two headers", path="/me", headers=twice, expected=_bad_request()),
        Step(
            name="malformed token",
            path="/me",
            headers=lambda _login: ("Bearer what|ever",),
            expected=_unauthorized("malformed_token", graph_calls=0),
        ),
        Step(
            name="Limited Login token",
            path="/me",
            headers=lambda _login: ("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",),
            expected=_unauthorized("limited_login", graph_calls=0),
        ),
        Step(name="path with a dot segment", path="/a/../me", expected=_bad_request()),
    ),
)

SESSION_OVER: Final = Chapter(
    "The session is over",
    (
        Step(
            name="expired (463)",
            path="/me",
            event=lambda facebook, login: facebook.expire(login.token),
            expected=_over("expired", 463),
        ),
        Step(
            name="expired, asked again",
            path="/me",
            token={"expires_in": -60},
            cached=True,
            expected=_over("expired", 463, graph_calls=0),
        ),
        Step(
            name="expires while cached",
            path="/me",
            token={"expires_in": 60},
            cached=True,
            event=lambda facebook, _login: facebook.clock.advance(60),
            expected=_unauthorized("expired", graph_calls=0),
        ),
        Step(
            name="password changed (460)",
            path="/me",
            event=lambda facebook, login: facebook.change_password(login.user_id),
            expected=_over("password_changed", 460),
        ),
        Step(
            name="logged out (467)",
            path="/me",
            event=lambda facebook, login: facebook.log_out(login.user_id),
            expected=_over("logged_out", 467),
        ),
        Step(
            name="app removed (458)",
            path="/me",
            event=lambda facebook, login: facebook.remove_app(login.user_id),
            expected=_over("not_authorized", 458),
        ),
        Step(
            name="checkpoint (459)",
            path="/me",
            event=lambda facebook, login: facebook.checkpoint(login.user_id),
            expected=_over("checkpointed", 459, "visit_facebook"),
        ),
        Step(
            name="unconfirmed (464)",
            path="/me",
            event=lambda facebook, login: facebook.unconfirm(login.user_id),
            expected=_over("unconfirmed_user", 464, "visit_facebook"),
        ),
        Step(
            name="invalidated (466)",
            path="/me",
            event=lambda facebook, login: facebook.invalidate(login.token),
            expected=_over("session_invalidated", 466),
        ),
    ),
)

NOT_THIS_TOKEN: Final = Chapter(
    "Alive, but not enough for this route",
    (
        Step(
            name="another app's token",
            path="/me",
            token={"app_id": OTHER_APP_ID},
            expected=_unauthorized("wrong_app", code=100),
        ),
        Step(
            name="page token", path="/me", token={"type": "PAGE"}, expected=_unauthorized("wrong_token_type")
        ),
        Step(
            name="decorator: scope missing", path="/email", expected=_forbidden("insufficient_scope", "email")
        ),
        Step(
            name="rule: scope missing",
            path=f"/pages/{PAGE_ID}",
            expected=_forbidden("insufficient_scope", _PAGE_SCOPE),
        ),
        Step(
            name="rule: other page granted",
            path=f"/pages/{PAGE_ID}",
            token=_OTHER_PAGE,
            expected=_forbidden("insufficient_target", _PAGE_SCOPE),
        ),
        Step(
            name="data access lapsed",
            path="/email",
            token=_EMAIL | {"data_access_expires_in": -60},
            expected=_unauthorized("data_access_expired", auth_type="reauthorize"),
        ),
        Step(
            name="login too long ago",
            path="/payout",
            token={"expires_in": 60 * 86_400},
            event=lambda facebook, _login: facebook.clock.advance(3600),
            expected=_unauthorized(
                "login_too_old",
                auth_type="reauthenticate",
                error="insufficient_user_authentication",
            ),
        ),
    ),
)

DONT_KNOW: Final = Chapter(
    "Facebook is away",
    (
        Step(
            name="Graph down, cached token",
            path="/me",
            cached=True,
            event=lambda facebook, _login: facebook.fail(status=500),
            expected=_passes(0),
        ),
        Step(
            name="Graph down, new token",
            path="/me",
            event=lambda facebook, _login: facebook.fail(status=500),
            expected=_unknown("unavailable"),
        ),
        Step(
            name="Graph throttles (4)",
            path="/me",
            event=lambda facebook, _login: facebook.throttle(4),
            expected=_unknown("throttled", code=4),
        ),
    ),
)

IN_A_VIEW: Final = Chapter(
    "A view calls Graph itself",
    (
        Step(name="view reads the name", path="/name", cached=True, expected=_passes()),
        Step(
            name="view: password changed",
            path="/name",
            cached=True,
            event=lambda facebook, login: facebook.change_password(login.user_id),
            expected=_over("password_changed", 460),
        ),
        Step(
            name="then: one look-up",
            path="/me",
            cached=True,
            event=lambda facebook, login: facebook.change_password(login.user_id),
            after="/name",
            expected=_over("password_changed", 460),
        ),
        Step(
            name="view: no permission (10)",
            path="/page-name",
            expected=Expected(
                status=403,
                graph_calls=2,
                reason="insufficient_scope",
                action="login",
                auth_type="rerequest",
                error="insufficient_scope",
                code=10,
            ),
        ),
        Step(
            name="view: throttled (17)",
            path="/name",
            cached=True,
            event=lambda facebook, _login: facebook.throttle(17),
            expected=_unknown("throttled", code=17),
        ),
        Step(
            name="view: dead page token",
            path="/insights",
            cached=True,
            expected=Expected(status=502, graph_calls=1),
        ),
        Step(
            name="then: still logged in",
            path="/me",
            cached=True,
            after="/insights",
            expected=_passes(0),
        ),
    ),
)

TOUR: tuple[Chapter, ...] = (LET_IN, UNASKED, SESSION_OVER, NOT_THIS_TOKEN, DONT_KNOW, IN_A_VIEW)
