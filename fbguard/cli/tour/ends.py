"""The chapter about sessions that end by what the app is told, and not by what Graph says later."""

from __future__ import annotations

from typing import Final

from fbguard.cli import callers
from fbguard.cli.steps import Chapter, Step
from fbguard.cli.tour.promises import EMAIL, forbidden, passes, unauthorized

SESSIONS_THAT_END: Final = Chapter(
    "Sessions that end",
    (
        Step(
            name="log-out view",
            method="POST",
            path="/log-out",
            known_by="/me",
            cached=True,
            expected=passes(0),
        ),
        Step(
            name="then: the same token",
            path="/me",
            cached=True,
            caller=callers.log_out,
            expected=unauthorized("session_invalidated", graph_calls=0),
        ),
        Step(
            name="then: a new login",
            path="/me",
            cached=True,
            caller=callers.log_out,
            again=True,
            expected=passes(),
        ),
        Step(
            name="app removed: callback",
            path="/me",
            cached=True,
            caller=callers.deauthorize,
            expected=unauthorized("not_authorized", graph_calls=0),
        ),
        Step(
            name="app removed: new login",
            path="/me",
            cached=True,
            caller=callers.deauthorize,
            again=True,
            expected=passes(),
        ),
        Step(
            name="permission gone: webhook",
            path="/email",
            token=EMAIL,
            cached=True,
            caller=callers.take_email,
            expected=forbidden("insufficient_scope", "email"),
        ),
        Step(
            name="ended by legacy client",
            path="/me",
            cached=True,
            caller=callers.legacy_client,
            expected=unauthorized("session_invalidated", graph_calls=0),
        ),
    ),
)
