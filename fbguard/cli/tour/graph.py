"""The chapters about Graph: it is away, and a view calls it itself."""

from __future__ import annotations

from typing import Final

from fbguard.cli.steps import Chapter, Expected, Step
from fbguard.cli.tour.promises import over, passes, unknown

DONT_KNOW: Final = Chapter(
    "Facebook is away",
    (
        Step(
            name="Graph down, cached token",
            path="/me",
            cached=True,
            event=lambda facebook, _login: facebook.fail(status=500),
            expected=passes(0),
        ),
        Step(
            name="Graph down, new token",
            path="/me",
            event=lambda facebook, _login: facebook.fail(status=500),
            expected=unknown("unavailable"),
        ),
        Step(
            name="Graph throttles (4)",
            path="/me",
            event=lambda facebook, _login: facebook.throttle(4),
            expected=unknown("throttled", code=4),
        ),
    ),
)

IN_A_VIEW: Final = Chapter(
    "A view calls Graph itself",
    (
        Step(name="view reads the name", path="/name", cached=True, expected=passes()),
        Step(
            name="view: password changed",
            path="/name",
            cached=True,
            event=lambda facebook, login: facebook.change_password(login.user_id),
            expected=over("password_changed", 460),
        ),
        Step(
            name="then: one look-up",
            path="/me",
            cached=True,
            event=lambda facebook, login: facebook.change_password(login.user_id),
            after="/name",
            expected=over("password_changed", 460),
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
            expected=unknown("throttled", code=17),
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
            expected=passes(0),
        ),
    ),
)
