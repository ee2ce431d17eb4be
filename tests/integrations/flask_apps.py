"""What the tests of Flask share: places for the guard, and a request through werkzeug's client."""

from __future__ import annotations

import logging

from flask import Flask
from werkzeug.test import Client

from fbguard import Guard, Policy
from fbguard.core.carrier import carrier_of_request
from fbguard.integrations.flask import FBGuard
from fbguard.wsgi import FBTokenMiddleware
from tests.support import TOKEN

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PLACES = ("FBGuard", "wsgi_app", "around", "extensions")  # the last: decorators alone, without a door


def put(place: str, app: Flask, guard: Guard, policy: Policy | None = None) -> Client:
    """Put the guard somewhere; return a client."""
    if place == "FBGuard":
        FBGuard(app, guard, policy=policy)
    elif place == "wsgi_app":
        app.wsgi_app = FBTokenMiddleware(app.wsgi_app, guard, policy=policy)  # type: ignore[method-assign]
    elif place == "around":
        return Client(FBTokenMiddleware(app, guard, policy=policy))
    else:
        assert policy is None
        app.extensions["fbguard"] = guard
    return Client(app)


def nothing_left() -> bool:
    """Tell that this thread keeps nothing of a request."""
    return carrier_of_request.get() is None


def loud(records: list[logging.LogRecord]) -> list[str]:
    """Tell what an operator would see; asyncio's debug mode complains of a busy machine, too."""
    heard = [one for one in records if one.levelno >= logging.WARNING and one.name != "asyncio"]
    return [f"{one.name}: {one.getMessage()}" for one in heard]
