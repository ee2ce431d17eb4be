"""What a second review found at the doors: marks, preflights that fail, mounted apps, closed WebSockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from fbguard import Policy, Rule, asgi, require_fb_token, wsgi
from fbguard.connections import Outgoing
from fbguard.core.reasons import Finding
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import EXCEPTION_HANDLERS
from tests.integrations.django_site import GUARDING, SERVERS, Site

# isort: split
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from tests.support import (
    APP_ID,
    SECRET,
    TOKEN,
    Answer,
    call_asgi,
    call_wsgi,
    http_scope,
    make_guard,
    wsgi_environ,
)

PUBLIC = Policy(Rule("/{rest:path}", public=True))
UNGUARDED = [None, PUBLIC]
COOKIE = [("Cookie", f"t={TOKEN}")]
PREFLIGHT = [("Origin", "https://spa.example"), ("Access-Control-Request-Method", "GET")]


@pytest.fixture(params=["cookie:t", "query"])
def elsewhere(request, graph, clock) -> Any:
    with make_guard(graph, clock, token_from=("header", request.param)) as guard:
        yield guard


# -- answers to a token that a view judged ----------------------------------------------------------


def assert_private(guard: Any, answer: Answer) -> None:
    vary = {name.strip() for name in (answer.header("vary") or "").split(",")}
    assert (answer.status, answer.header("cache-control")) == (200, "private")
    assert {"Authorization", *(["Cookie"] if guard.sources.cookie else [])} <= vary


def assert_untouched(answer: Answer) -> None:
    assert (answer.status, answer.all("cache-control"), answer.all("vary")) == (200, [], [])


def view_asgi() -> Any:
    @require_fb_token
    async def view(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"mine"})

    return view


def view_wsgi() -> Any:
    @require_fb_token
    def view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"mine"]

    return view


@pytest.mark.parametrize("policy", UNGUARDED)
def test_a_view_behind_the_asgi_door(elsewhere, policy):
    door = asgi.FBTokenMiddleware(view_asgi(), elsewhere, policy=policy)
    more = {"query_string": f"access_token={TOKEN}".encode()} if elsewhere.sources.query else {}
    headers = COOKIE if elsewhere.sources.cookie else []
    assert_private(elsewhere, asyncio.run(call_asgi(door, http_scope(headers=headers, **more))))
    by_header = http_scope(headers=[("Authorization", f"Bearer {TOKEN}")])
    assert_untouched(asyncio.run(call_asgi(door, by_header)))


@pytest.mark.parametrize("policy", UNGUARDED)
def test_a_view_behind_the_wsgi_door(elsewhere, policy):
    door = wsgi.FBTokenMiddleware(view_wsgi(), elsewhere, policy=policy)
    more = {"QUERY_STRING": f"access_token={TOKEN}"} if elsewhere.sources.query else {}
    headers = COOKIE if elsewhere.sources.cookie else []
    assert_private(elsewhere, call_wsgi(door, wsgi_environ(headers=headers, **more)))
    assert_untouched(call_wsgi(door, wsgi_environ(headers=[("Authorization", f"Bearer {TOKEN}")])))


@pytest.mark.parametrize("policy", UNGUARDED)
def test_a_view_of_flask(elsewhere, policy):
    import flask

    app = flask.Flask("again")
    app.add_url_rule("/", "view", require_fb_token(lambda: "mine"))
    app.add_url_rule("/open", "open", lambda: "anybody's")
    FBGuard(app, elsewhere, policy=policy)
    more = {"QUERY_STRING": f"access_token={TOKEN}"} if elsewhere.sources.query else {}
    headers = COOKIE if elsewhere.sources.cookie else []
    assert_private(elsewhere, call_wsgi(app, wsgi_environ(headers=headers, **more)))
    assert_untouched(call_wsgi(app, wsgi_environ("/open", headers=headers, **more)))


def mine(_: Any) -> HttpResponse:
    return HttpResponse("mine")


urlpatterns = [path("", require_fb_token(mine)), path("open", mine)]


@pytest.mark.parametrize("policy", UNGUARDED)
@pytest.mark.parametrize("server", SERVERS)
def test_a_view_of_django(graph, clock, server, policy):
    fbguard = {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}
    fbguard |= {"policy": policy, "token_from": ("cookie:t",)}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[GUARDING], FBGUARD=fbguard):
        answer = Site(server).send(headers=COOKIE)
        untouched = Site(server).send("/open", headers=COOKIE)
    assert (answer.status, answer.header("cache-control"), answer.header("vary")) == (
        200,
        "private",
        "Cookie",
    )
    assert_untouched(untouched)


@pytest.mark.parametrize("policy", UNGUARDED)
def test_a_guard_of_the_header_leaves_send_alone(guard, policy):
    given: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.append(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    asyncio.run(call_asgi(asgi.FBTokenMiddleware(app, guard, policy=policy), http_scope()))
    assert isinstance(given[0].__self__, Outgoing)


# -- WebSockets --------------------------------------------------------------------------------------


def websocket(app: Any, *, protocols: Any = (), **more: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    headers = [("Sec-WebSocket-Protocol", ", ".join(protocols))] if protocols else []
    scope = http_scope("/ws", headers=headers) | {
        "type": "websocket",
        "subprotocols": list(protocols),
        **more,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize("policy", UNGUARDED)
def test_bearer_is_answered_for_a_view_that_judges(graph, clock, policy):
    @require_fb_token
    async def view(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    with make_guard(graph, clock, token_from=("header", "websocket-protocol")) as guard:
        door = asgi.FBTokenMiddleware(view, guard, policy=policy)
        [accept] = websocket(door, protocols=["bearer", TOKEN])
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", "bearer")


# -- preflights --------------------------------------------------------------------------------------


def failed(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        (record.levelno, record.getMessage().rpartition(" ")[2], bool(record.exc_info))
        for record in caplog.records
        if record.name == "fbguard"
    ]


async def failing_asgi(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("x")


async def answering_500_asgi(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 500, "headers": []})
    await send({"type": "http.response.body"})
    raise KeyError("x")  # as Starlette's ServerErrorMiddleware does


def failing_wsgi(environ: Any, start_response: Any) -> Any:
    raise KeyError("x")


def failing_late_wsgi(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Allow", "GET")])
    yield b""
    raise KeyError("x")


@pytest.mark.parametrize("app", [failing_asgi, answering_500_asgi])
def test_an_asgi_app_that_fails_at_a_preflight(guard, caplog, app):
    door = asgi.FBTokenMiddleware(app, guard)
    answer = asyncio.run(call_asgi(door, http_scope(method="OPTIONS", headers=PREFLIGHT)))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert failed(caplog) == [(logging.ERROR, "KeyError", True)]


@pytest.mark.parametrize("app", [failing_wsgi, failing_late_wsgi])
def test_a_wsgi_app_that_fails_at_a_preflight(guard, caplog, app):
    door = wsgi.FBTokenMiddleware(app, guard)
    answer = call_wsgi(door, wsgi_environ(method="OPTIONS", headers=PREFLIGHT))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert failed(caplog) == [(logging.ERROR, "KeyError", True)]


def test_a_failure_behind_an_answered_preflight_is_the_servers(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(
            call_asgi(asgi.FBTokenMiddleware(app, guard), http_scope(method="OPTIONS", headers=PREFLIGHT))
        )


def test_the_session_of_flask_does_not_come_out_of_a_preflight(guard):
    import flask

    app = flask.Flask("again")
    app.secret_key = "not one"

    @app.route("/", methods=["GET", "OPTIONS"])
    def view() -> flask.Response:
        flask.session["seen"] = "yes"
        response = flask.Response("for nobody", headers={"X-Mine": "no", "Access-Control-Max-Age": "5"})
        response.set_cookie("mine", "no")
        return response

    FBGuard(app, guard)
    answer = call_wsgi(app, wsgi_environ(method="OPTIONS", headers=PREFLIGHT))
    assert (answer.status, answer.body) == (204, b"")
    assert sorted(answer.headers) == [("access-control-max-age", "5"), ("vary", "Cookie")]


# -- apps mounted behind a door -----------------------------------------------------------------------


def mounting_asgi(guard: Any, how: str) -> Any:
    from fastapi import APIRouter, FastAPI
    from starlette.applications import Starlette
    from starlette.routing import Host, Mount, Route, Router

    def refuse(request: Any) -> None:
        guard.check(None)

    sub = Starlette(routes=[Route("/x", refuse)])
    if how == "mount":
        return Starlette(routes=[Mount("/sub", sub)])
    if how == "host":
        return Router(routes=[Host("testserver", Starlette(routes=[Mount("/sub", sub)]))])
    if how == "deep":
        return Starlette(routes=[Mount("/sub", routes=[Mount("", Starlette(routes=[Mount("", sub)]))])])
    app, router = FastAPI(), APIRouter()
    router.mount("/sub", sub)
    app.include_router(router)
    return app


@pytest.mark.parametrize("how", ["mount", "host", "deep", "included"])
def test_a_refusal_by_hand_in_a_mounted_asgi_app(guard, how):
    door = asgi.FBTokenMiddleware(mounting_asgi(guard, how), guard, policy=None)
    answer = asyncio.run(call_asgi(door, http_scope("/sub/x", headers=[("Host", "testserver")])))
    assert (answer.status, answer.reason) == (401, "missing_token")


def test_a_refusal_by_hand_in_a_dispatched_flask(guard, caplog):
    import flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app, sub = flask.Flask("again"), flask.Flask("sub")
    sub.add_url_rule("/x", "x", lambda: guard.check(None))
    inner = DispatcherMiddleware(app, {"/sub": DispatcherMiddleware(app, {"/sub": sub.wsgi_app})})
    door = wsgi.FBTokenMiddleware(inner, guard, policy=None)
    answer = call_wsgi(door, wsgi_environ("/sub/sub/x"))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_a_mounted_app_with_a_root_path_of_its_own(guard):
    from fastapi import FastAPI
    from starlette.applications import Starlette
    from starlette.routing import Mount

    sub = FastAPI(root_path="/api")
    app = Starlette(routes=[Mount("/sub", routes=[Mount("", sub)])])
    with pytest.raises(ValueError, match="add_middleware"):
        asgi.FBTokenMiddleware(app, guard)
    assert asgi.FBTokenMiddleware(app, guard, policy=None)._root_path is None
    assert asgi.FBTokenMiddleware(sub, guard)._root_path == "/api"


def test_a_circle_of_mounts_ends(guard):
    class Circle:
        def __init__(self) -> None:
            self.routes = [self]
            self.app = self

    class Endless:
        @property
        def routes(self) -> list[Any]:
            return [Endless()]

    for app in (Circle(), Endless()):
        asgi.FBTokenMiddleware(app, guard)  # type: ignore[arg-type]


# -- a WebSocket that the app has closed --------------------------------------------------------------


@pytest.mark.parametrize("ends", [{"type": "websocket.close"}, {"type": "websocket.http.response.start"}])
@pytest.mark.parametrize("first", [[], [{"type": "websocket.accept"}]])
def test_a_closed_websocket_is_not_closed_again(guard, ends, first):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in [*first, ends]:
            await send(message)
        guard.check(None)

    assert websocket(asgi.FBTokenMiddleware(app, guard, policy=None)) == [*first, ends]


@pytest.mark.parametrize("has_door", [True, False])
def test_a_closed_websocket_of_starlette_is_not_closed_again(guard, has_door):
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    async def endpoint(socket: Any) -> None:
        await socket.accept()
        await socket.close()
        guard.check(None)

    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    door = asgi.FBTokenMiddleware(app, guard, policy=None)
    sent = websocket(door if has_door else app)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"type": "websocket.accept"}], ["websocket.close"]),
        ([{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1000}], []),
        ([], ["websocket.http.response.start", "websocket.http.response.body"]),
    ],
    ids=["accepted", "closed", "nothing said"],
)
def test_a_refusal_around_a_door_knows_how_its_websocket_stands(graph, clock, before, after):
    """Of a raw app that is mounted: Starlette's handlers ask the scope what was said already."""
    sent: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in before:
            await send(dict(message))

    with make_guard(graph, clock) as guard:
        door = asgi.FBTokenMiddleware(app, guard)

        async def above(scope: Any, receive: Any, send: Any) -> None:
            await door(scope, receive, send)
            raise guard.refusal(Finding("session_invalidated"))

        site = Starlette(routes=[Mount("/m", app=above)], exception_handlers=EXCEPTION_HANDLERS)

        async def main() -> None:
            headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
            scope = {
                "type": "websocket", "path": "/m/x", "headers": headers, "root_path": "", "query_string": b"",
                "subprotocols": [],
                "extensions": {"websocket.http.response": {}},
            }  # fmt: skip

            async def receive() -> Any:
                return {"type": "websocket.connect"}

            async def send(message: Any) -> None:
                sent.append(message["type"])

            await site(scope, receive, send)

        asyncio.run(main())
    assert sent == [*(message["type"] for message in before), *after]


# -- rules that judge nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["asgi", "wsgi", "flask", "django"])
def test_who_builds_a_door_is_told_of_a_rule_that_judges_nothing(graph, clock, guard, caplog, door):
    policy = Policy(
        Rule("/{rest:path}", public=True), Rule("/admin", scopes=["email"]), Rule("/x", public=True)
    )
    if door == "asgi":
        asgi.FBTokenMiddleware(view_asgi(), guard, policy=policy)
    elif door == "wsgi":
        wsgi.FBTokenMiddleware(view_wsgi(), guard, policy=policy)
    elif door == "flask":
        import flask

        FBGuard(flask.Flask("again"), guard, policy=policy)
    else:
        fbguard = {
            "app_id": APP_ID,
            "app_secret": SECRET,
            "transport": graph,
            "clock": clock,
            "policy": policy,
        }
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[GUARDING], FBGUARD=fbguard):
            Site("wsgi").send()
    assert caplog.messages == [
        "the rule '/admin' judges nothing that it names: '/{rest:path}' stands before it"
    ]
