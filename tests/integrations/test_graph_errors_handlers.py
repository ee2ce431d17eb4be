"""What the app says itself about Graph's errors, and that what the guard says is an ordinary answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask
from starlette.responses import PlainTextResponse
from werkzeug.exceptions import HTTPException

from fbguard import OAuthException, require_fb_token
from fbguard.integrations.flask import FBGuard
from tests.integrations.flask_apps import loud
from tests.integrations.graph_errors import (
    FASTAPI,
    FLASK,
    STARLETTE,
    Outcome,
    Views,
    fastapi,
    flask_app,
    send_wsgi,
    served,
    starlette,
)
from tests.integrations.test_fastapi_served import on_uvicorn
from tests.servers.raw import exchange
from tests.support import APP_ID, SECRET, TOKEN, make_guard, wsgi_environ

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def options(graph, clock):
    return {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}


def over() -> OAuthException:
    return OAuthException("over", code=190, subcode=460)


def raise_over() -> None:
    raise over()


# -- the app's own handlers win -----------------------------------------------------------------------


async def own(request: Any, error: OAuthException) -> PlainTextResponse:
    return PlainTextResponse(f"we say {error.subcode}", status_code=418)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("make", "place"),
    [*((starlette, place) for place in STARLETTE), *((fastapi, place) for place in FASTAPI)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_exception_handlers_of_starlette_and_fastapi(options, make, place, is_async, when):
    def build(views: Views, guard: Any) -> Any:
        if when == "before":
            return make(place, is_async, exception_handlers={OAuthException: own})(views, guard)
        app = make(place, is_async)(views, guard)
        inner = app
        while not hasattr(inner, "add_exception_handler"):
            inner = inner.app
        inner.add_exception_handler(OAuthException, own)
        return app

    with served("starlette", options, build) as site:
        for error in (over(), OAuthException("slower", code=4), OAuthException("x", code=100)):
            answer = site.raises(error)
            assert (answer.status, answer.body, answer.error) == (
                418,
                f"we say {error.subcode}".encode(),
                None,
            )


def flask_site(
    place: str, guard: Any, *, owner: str = "app", kind: Any = OAuthException, own: Any = None
) -> tuple[Flask, Any]:
    app, shop = Flask("site"), Blueprint("shop", "shop")
    shop.add_url_rule("/", "view", require_fb_token(scopes=["email"])(raise_over))
    if own is not None:
        (app if owner == "app" else shop).register_error_handler(kind, own)
    app.register_blueprint(shop)
    return app, flask_app(place, app, guard, policy=None)


def ask(app: Any, **headers: str) -> Outcome:
    return send_wsgi(app, wsgi_environ(headers={**BEARER, **headers}.items()))


@pytest.mark.parametrize("owner", ["app", "blueprint"])
@pytest.mark.parametrize("place", FLASK)
def test_errorhandlers_of_flask(guard, place, owner):
    _, site = flask_site(place, guard, owner=owner, own=lambda error: (f"we say {error.subcode}", 418))
    answer = ask(site)
    assert (answer.status, answer.body, answer.error) == (418, b"we say 460", None)


@pytest.mark.parametrize(
    ("owner", "kind"),
    [
        *(("app", kind) for kind in (Exception, HTTPException, 500, 401)),
        *(("blueprint", kind) for kind in (Exception, HTTPException)),
    ],
)
@pytest.mark.parametrize("place", FLASK)
def test_an_errorhandler_for_more_swallows_no_refusal(guard, place, kind, owner):
    _, site = flask_site(place, guard, owner=owner, kind=kind, own=lambda error: ("swallowed", 500))
    answer = ask(site)
    assert (answer.status, answer.reason) == (401, "password_changed")
    assert guard.peek(TOKEN) is None


# -- an ordinary answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", FLASK)
def test_it_passes_after_request(guard, place):
    app, site = flask_site(place, guard)
    torn: list[object] = []

    @app.after_request
    def cors(response: Any) -> Any:
        response.headers["Access-Control-Allow-Origin"] = "https://spa.example"
        return response

    app.teardown_request(torn.append)
    answer = ask(site)
    assert (answer.status, answer.reason) == (401, "password_changed")
    assert answer.header("access-control-allow-origin") == "https://spa.example"
    assert torn == [None]


@pytest.mark.parametrize("place", FLASK[:3])
def test_the_scopes_of_the_door_and_of_the_view(guard, place):
    def view() -> None:
        raise OAuthException("no", code=10)

    app = Flask("site")
    app.add_url_rule("/x", "view", require_fb_token(scopes=["public_profile"])(view))
    answer = send_wsgi(flask_app(place, app, guard), wsgi_environ("/x", headers=BEARER.items()))
    assert (answer.status, answer.reason) == (403, "insufficient_scope")
    assert 'scope="email public_profile"' in answer.challenge


@pytest.mark.parametrize("testing", [False, True])
def test_a_door_in_an_app_factory(graph, clock, testing):
    app = Flask("site")
    app.testing = testing
    app.add_url_rule("/", "view", raise_over)
    with make_guard(graph, clock) as guard:
        FBGuard(guard=guard).init_app(app)
        answer = app.test_client().get("/", headers=BEARER)
    assert (answer.status_code, answer.get_json()["reason"]) == (401, "password_changed")


@pytest.mark.parametrize(
    "name",
    [
        *(f"flask {place}-sync" for place in FLASK),
        "django-wsgi middleware-sync",
        "django-wsgi decorator-async",
        "django-asgi middleware-async",
        "django-asgi decorator-sync",
    ],
)
def test_a_hundred_leave_no_record(options, name, caplog):
    with caplog.at_level(logging.DEBUG), served(name, options) as site:
        for error, status in (
            (over(), 401),
            (OAuthException("no", code=10), 403),
            (OAuthException("", code=4), 503),
        ):
            assert {site.raises(error).status for _ in range(34)} == {status}
    assert caplog.records, "nothing was heard at all"
    assert loud(caplog.records) == []


@pytest.mark.parametrize("name", ["starlette inside-async", "starlette state-sync", "fastapi Depends-async"])
def test_a_hundred_leave_no_record_of_uvicorn(options, name, caplog, monkeypatch):
    for logger in ("uvicorn", "uvicorn.error"):  # as they are in a process of their own
        for attribute, value in (("propagate", True), ("disabled", False), ("level", logging.INFO)):
            monkeypatch.setattr(logging.getLogger(logger), attribute, value)
        logging.getLogger(logger).manager._clear_cache()
    request = f"GET /x HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with served(name, options) as site:
        site.views.act = raise_over
        with caplog.at_level(logging.INFO), on_uvicorn(site.app) as url:
            port = int(url.rpartition(":")[2])
            replies = [exchange(port, request.encode()) for _ in range(100)]
    assert {(reply.status, reply.reason) for reply in replies} == {(401, "password_changed")}
    of_uvicorn = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert of_uvicorn, "its log was not seen at all"
    assert loud(of_uvicorn) == []
