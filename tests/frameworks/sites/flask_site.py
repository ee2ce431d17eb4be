"""Flask: decorated views under ``FBGuard``, and under the plain WSGI door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request
from flask.views import MethodView

from fbguard import Guard, require_fb_token
from fbguard.integrations.flask import FBGuard
from fbguard.wsgi import FBTokenMiddleware
from tests.frameworks.apps import (
    OWN,
    REQUIRED,
    VIEWS,
    bearer,
    before_stream,
    in_stream,
    said,
)
from tests.frameworks.sites import logs
from tests.frameworks.sites.hasty import HastyClock

guard = Guard.from_env(clock=HastyClock(), limited_login=True)
logs.watch()


def _said(view: str) -> dict[str, Any]:
    # A plain door knows no `g`: there a view has the facts in the environ.
    return said(view, g.fb_token if "fb_token" in g else request.environ["fbguard.token"])


def health() -> dict[str, Any]:
    return _said("health")


def me() -> dict[str, Any]:
    return _said("me")


@require_fb_token(**REQUIRED["email"])
def email() -> dict[str, Any]:
    return _said("email")


@require_fb_token(**REQUIRED["pages"])
class Pages(MethodView):
    def get(self, page_id: int) -> dict[str, Any]:
        return _said(f"pages/{page_id}")


@require_fb_token(**REQUIRED["either"])
async def either() -> dict[str, Any]:
    return _said("either")


@require_fb_token(**REQUIRED["optional"])
def optional() -> dict[str, Any]:
    return _said("optional")


@require_fb_token(**REQUIRED["machine"])
def machine() -> dict[str, Any]:
    return _said("machine")


@require_fb_token(**REQUIRED["limited"])
def limited() -> dict[str, Any]:
    return _said("limited")


@require_fb_token(**REQUIRED["wide"])
async def wide() -> dict[str, Any]:
    return _said("wide")


@require_fb_token(**REQUIRED["soon"])
async def soon() -> dict[str, Any]:
    return _said("soon")


@require_fb_token(**REQUIRED["fresh"])
def fresh() -> dict[str, Any]:
    return _said("fresh")


@require_fb_token(**REQUIRED["report"])
def report() -> dict[str, Any]:
    return _said("report")


def stream() -> Response:
    def body() -> Iterator[bytes]:
        yield before_stream()
        yield in_stream()

    return Response(body(), mimetype="application/json")


def refuse() -> dict[str, Any]:
    info = guard.check(bearer(request.headers.get("Authorization")), OWN)
    return {"view": "refuse", "user": info.user_id, "carried": info.user_id}


def log() -> dict[str, Any]:
    logs.complain()
    return _said("log")


def _app() -> Flask:
    app = Flask("fbguard.tests")
    for view in (
        health,
        me,
        email,
        either,
        optional,
        machine,
        limited,
        wide,
        soon,
        fresh,
        stream,
        refuse,
        log,
    ):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    app.add_url_rule("/pages/<int:page_id>", view_func=Pages.as_view("pages"))
    app.add_url_rule("/report", view_func=report, methods=["POST"])
    return app


app = _app()
FBGuard(app, guard, policy=VIEWS)
guarded = FBTokenMiddleware(_app(), guard, policy=VIEWS)
