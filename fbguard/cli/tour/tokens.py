"""The chapters about tokens: let in, refused unasked, over, not enough."""

from __future__ import annotations

from typing import Final

from fbguard.cli.steps import Chapter, Step, nothing, twice
from fbguard.cli.tour.promises import (
    EMAIL,
    OTHER_APP_ID,
    OTHER_PAGE,
    OUR_PAGE,
    PAGE_ID,
    PAGE_SCOPE,
    bad_request,
    forbidden,
    over,
    passes,
    unauthorized,
)

LET_IN: Final = Chapter(
    "Let in",
    (
        Step(
            name="public route, no token",
            path="/health",
            headers=nothing,
            anonymous=True,
            expected=passes(0),
        ),
        Step(name="valid token", path="/me", expected=passes()),
        Step(name="same token again, cached", path="/me", cached=True, expected=passes(0)),
        Step(name="decorator: scope granted", path="/email", token=EMAIL, expected=passes()),
        Step(name="rule: page granted", path=f"/pages/{PAGE_ID}", token=OUR_PAGE, expected=passes()),
    ),
)

UNASKED: Final = Chapter(
    "Refused without asking Facebook",
    (
        Step(
            name="no token",
            path="/me",
            headers=nothing,
            expected=unauthorized("missing_token", error=None, graph_calls=0),
        ),
        Step(name="two tokens, two headers", path="/me", headers=twice, expected=bad_request()),
        Step(
            name="malformed token",
            path="/me",
            headers=lambda _login: ("Bearer what|ever",),
            expected=unauthorized("malformed_token", graph_calls=0),
        ),
        Step(
            name="Limited Login token",
            path="/me",
            headers=lambda _login: ("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",),
            expected=unauthorized("limited_login", graph_calls=0),
        ),
        Step(name="path with a dot segment", path="/a/../me", expected=bad_request()),
    ),
)

SESSION_OVER: Final = Chapter(
    "The session is over",
    (
        Step(
            name="expired (463)",
            path="/me",
            event=lambda facebook, login: facebook.expire(login.token),
            expected=over("expired", 463),
        ),
        Step(
            name="expired, asked again",
            path="/me",
            token={"expires_in": -60},
            cached=True,
            expected=over("expired", 463, graph_calls=0),
        ),
        Step(
            name="expires while cached",
            path="/me",
            token={"expires_in": 60},
            cached=True,
            event=lambda facebook, _login: facebook.clock.advance(60),
            expected=unauthorized("expired", graph_calls=0),
        ),
        Step(
            name="password changed (460)",
            path="/me",
            event=lambda facebook, login: facebook.change_password(login.user_id),
            expected=over("password_changed", 460),
        ),
        Step(
            name="logged out (467)",
            path="/me",
            event=lambda facebook, login: facebook.log_out(login.user_id),
            expected=over("logged_out", 467),
        ),
        Step(
            name="app removed (458)",
            path="/me",
            event=lambda facebook, login: facebook.remove_app(login.user_id),
            expected=over("not_authorized", 458),
        ),
        Step(
            name="checkpoint (459)",
            path="/me",
            event=lambda facebook, login: facebook.checkpoint(login.user_id),
            expected=over("checkpointed", 459, "visit_facebook"),
        ),
        Step(
            name="unconfirmed (464)",
            path="/me",
            event=lambda facebook, login: facebook.unconfirm(login.user_id),
            expected=over("unconfirmed_user", 464, "visit_facebook"),
        ),
        Step(
            name="invalidated (466)",
            path="/me",
            event=lambda facebook, login: facebook.invalidate(login.token),
            expected=over("session_invalidated", 466),
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
            expected=unauthorized("wrong_app", code=100),
        ),
        Step(
            name="page token", path="/me", token={"type": "PAGE"}, expected=unauthorized("wrong_token_type")
        ),
        Step(
            name="decorator: scope missing", path="/email", expected=forbidden("insufficient_scope", "email")
        ),
        Step(
            name="rule: scope missing",
            path=f"/pages/{PAGE_ID}",
            expected=forbidden("insufficient_scope", PAGE_SCOPE),
        ),
        Step(
            name="rule: other page granted",
            path=f"/pages/{PAGE_ID}",
            token=OTHER_PAGE,
            expected=forbidden("insufficient_target", PAGE_SCOPE),
        ),
        Step(
            name="data access lapsed",
            path="/email",
            token=EMAIL | {"data_access_expires_in": -60},
            expected=unauthorized("data_access_expired", auth_type="reauthorize"),
        ),
        Step(
            name="login too long ago",
            path="/payout",
            token={"expires_in": 60 * 86_400},
            event=lambda facebook, _login: facebook.clock.advance(3600),
            expected=unauthorized(
                "login_too_old",
                auth_type="reauthenticate",
                error="insufficient_user_authentication",
            ),
        ),
    ),
)
