"""Whose requirement and whose guard judge when several stand on the way."""

from __future__ import annotations

import asyncio
import functools
from typing import Annotated, Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.views import View as DjangoView
from fastapi import APIRouter, Depends, FastAPI, Security
from flask import Flask
from flask.views import MethodView, View
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fbguard import Policy, Requirement, Rule, TokenInfo, asgi, require_fb_token, wsgi
from fbguard.context import asked_of
from fbguard.integrations.fastapi import FBToken, OptionalFBToken
from fbguard.sandbox import Sandbox
from fbguard.view_request import ViewRequest
from tests.support import TOKEN, call_asgi, call_wsgi, http_scope, make_guard, valid, wsgi_environ


@pytest.fixture
def ours():
    sandbox = Sandbox()
    with sandbox.guard() as guard:
        yield sandbox, guard


@pytest.fixture
def theirs():
    sandbox = Sandbox(app_id="777")
    with sandbox.guard() as guard:
        yield sandbox, guard


def test_scopes_of_security_are_judged(ours):
    sandbox, guard = ours
    app = FastAPI()
    app.state.fbguard = guard

    @app.get("/")
    async def view(token: Annotated[TokenInfo, Security(FBToken(), scopes=["pages_manage_posts"])]) -> str:
        return token.app_id

    client = TestClient(app)
    assert client.get("/", headers=sandbox.bearer(sandbox.issue_token())).status_code == 403
    granted = sandbox.issue_token(scopes=["pages_manage_posts"])
    assert client.get("/", headers=sandbox.bearer(granted)).status_code == 200


def test_a_guard_of_one_view_judges_no_other(ours, theirs):
    sandbox, guard = theirs
    app = FastAPI(dependencies=[Depends(FBToken(guard=guard))])
    app.state.fbguard = ours[1]

    @app.get("/")
    async def view(token: Annotated[TokenInfo, Depends(FBToken())]) -> str:
        return token.app_id

    # Good for the other app's guard only; ours knows no such token.
    answer = TestClient(app).get("/", headers=sandbox.bearer(sandbox.issue_token()))
    assert answer.status_code == 401


def test_a_subclass_that_overrides_dispatch_is_guarded_too(ours):
    sandbox, guard = ours
    app = Flask("x")

    @require_fb_token(guard=guard)
    class Base(View):
        def dispatch_request(self):
            return "base"

    class Child(Base):
        def dispatch_request(self):
            return "child"

    app.add_url_rule("/", view_func=Child.as_view("child"))
    client = app.test_client()
    assert client.get("/").status_code == 401
    assert client.get("/", headers=sandbox.bearer(sandbox.issue_token())).text == "child"


@pytest.fixture
def judged(monkeypatch) -> list[Requirement]:
    """Give what views have asked for, in order."""
    asked: list[Requirement] = []
    consider = ViewRequest.consider

    def counted(request: Any, requirement: Requirement) -> Any:
        asked.append(requirement)
        return consider(request, requirement)

    monkeypatch.setattr(ViewRequest, "consider", counted)
    return asked


def of_flask(view: Any, headers: dict[str, str]) -> int:
    app = Flask("x")
    app.add_url_rule("/", view_func=view.as_view("view"))
    return app.test_client().get("/", headers=headers).status_code


def of_django(view: Any, headers: dict[str, str]) -> int:
    answer = view.as_view()(RequestFactory().get("/", headers=headers))
    return (asyncio.run(answer) if asyncio.iscoroutine(answer) else answer).status_code


def of_starlette(view: Any, headers: dict[str, str]) -> int:
    return TestClient(Starlette(routes=[Route("/", view)])).get("/", headers=headers).status_code


def of_sockets(view: Any, headers: dict[str, str]) -> int:
    client = TestClient(Starlette(routes=[WebSocketRoute("/", view)]))
    try:
        with client.websocket_connect("/", headers=headers) as socket:
            socket.receive_text()
    except Exception as error:
        # Before it is accepted: the denial response, which the test client raises.
        status = getattr(error, "status_code", None)
        if status is None and not isinstance(error, WebSocketDisconnect):
            raise
        return status or 403
    return 200


class FlaskDispatch:
    def dispatch_request(self, **_: Any) -> str:
        return "mixin"


class DjangoDispatch:
    def dispatch(self, _request: Any) -> HttpResponse:
        return HttpResponse("mixin")


class DjangoAsyncDispatch:
    view_is_async = True

    async def dispatch(self, _request: Any) -> HttpResponse:
        return HttpResponse("mixin")


class HTTPDispatch:
    scope: Any
    receive: Any
    send: Any

    async def dispatch(self) -> None:
        await PlainTextResponse("mixin")(self.scope, self.receive, self.send)


class SocketDispatch(HTTPDispatch):
    async def dispatch(self) -> None:
        await self.send({"type": "websocket.accept"})
        await self.send({"type": "websocket.send", "text": "mixin"})


class GetOfFlask:
    def get(self) -> str:
        return "own"


class GetOfDjango:
    def get(self, _request: Any) -> HttpResponse:
        return HttpResponse("own")


class AsyncGetOfDjango:
    async def get(self, _request: Any) -> HttpResponse:
        return HttpResponse("own")


class GetOfStarlette:
    async def get(self, _request: Any) -> PlainTextResponse:
        return PlainTextResponse("own")


class OnConnect:
    async def on_connect(self, websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text("own")


# Of each framework: its class, a mixin with a dispatch of its own, one with handlers, and how to ask it.
CLASSES = {
    "Flask's View": (View, FlaskDispatch, FlaskDispatch, of_flask),
    "MethodView": (MethodView, FlaskDispatch, GetOfFlask, of_flask),
    "Django's View": (DjangoView, DjangoDispatch, GetOfDjango, of_django),
    "Django's View, async": (DjangoView, DjangoAsyncDispatch, AsyncGetOfDjango, of_django),
    "HTTPEndpoint": (HTTPEndpoint, HTTPDispatch, GetOfStarlette, of_starlette),
    "WebSocketEndpoint": (WebSocketEndpoint, SocketDispatch, OnConnect, of_sockets),
}


def own(mixin: type) -> dict[str, Any]:
    """Return what a class of the same body would have."""
    return {name: value for name, value in vars(mixin).items() if name not in {"__dict__", "__weakref__"}}


@pytest.fixture(params=CLASSES)
def kind(request) -> Any:
    return CLASSES[request.param]


def is_guarded(view: Any, sandbox: Sandbox, send: Any) -> None:
    granted = sandbox.bearer(sandbox.issue_token(scopes=["email"]))
    assert send(view, {}) in {401, 403}  # a server without the denial response says 403 to a handshake
    assert send(view, sandbox.bearer(sandbox.issue_token())) == 403
    assert send(view, granted) == 200


def test_a_mixin_with_a_dispatch_of_its_own_is_guarded(ours, kind):
    sandbox, guard = ours
    base, dispatch, _, send = kind
    guarded = require_fb_token(scopes=["email"], guard=guard)(type("Guarded", (base,), {}))
    is_guarded(type("Report", (dispatch, guarded), {}), sandbox, send)


def test_subclasses_of_subclasses_are_guarded(ours, kind):
    sandbox, guard = ours
    base, dispatch, handlers, send = kind
    guarded = require_fb_token(scopes=["email"], guard=guard)(type("Guarded", (base,), {}))
    child = type("Child", (guarded,), own(handlers))
    is_guarded(type("Late", (dispatch, child), {}), sandbox, send)  # a mixin two steps later
    is_guarded(type("Own", (child,), own(dispatch)), sandbox, send)
    early = type("Early", (dispatch, guarded), {})
    is_guarded(type("Grandchild", (early,), {}), sandbox, send)
    is_guarded(type("Again", (type("Other", (), own(dispatch)), early), {}), sandbox, send)


def test_an_untouched_dispatch_is_judged_once(ours, kind, judged):
    sandbox, guard = ours
    base, _, handlers, send = kind
    decorate = require_fb_token(scopes=["email"], guard=guard)
    if base is View:  # which has no handlers, only a dispatch
        view = type("Grandchild", (decorate(type("Guarded", (handlers, base), {})),), {})
    else:
        guarded = decorate(type("Guarded", (base,), {}))
        view = type("Grandchild", (type("Child", (handlers, guarded), {}),), {})
    assert send(view, sandbox.bearer(sandbox.issue_token(scopes=["email"]))) == 200
    assert len(judged) == 1


def test_two_requirements_of_one_class_are_each_judged_once(ours, kind, judged):
    sandbox, guard = ours
    base, dispatch, _, send = kind
    email = require_fb_token(scopes=["email"], guard=guard)
    posts = require_fb_token(scopes=["user_posts"], guard=guard)
    view = type("Report", (dispatch, posts(email(type("Guarded", (base,), {})))), {})
    both = sandbox.bearer(sandbox.issue_token(scopes=["email", "user_posts"]))
    assert send(view, both) == 200
    assert sorted(sorted(one.scopes) for one in judged) == [["email"], ["user_posts"]]
    for scope in ("email", "user_posts"):
        assert send(view, sandbox.bearer(sandbox.issue_token(scopes=[scope]))) == 403


def test_two_guarded_parents_are_both_asked(ours, kind):
    sandbox, guard = ours
    base, dispatch, _, send = kind
    first = require_fb_token(scopes=["email"], guard=guard)(type("First", (base,), {}))
    second = require_fb_token(scopes=["user_posts"], guard=guard)(type("Second", (base,), {}))
    for view in (type("Plain", (first, second), own(dispatch)), type("Mixed", (dispatch, first, second), {})):
        for scope in ("email", "user_posts"):
            assert send(view, sandbox.bearer(sandbox.issue_token(scopes=[scope]))) == 403
        both = sandbox.bearer(sandbox.issue_token(scopes=["email", "user_posts"]))
        assert send(view, both) == 200


def test_a_dispatch_that_only_looks_like_the_guarded_one_is_guarded(ours):
    sandbox, guard = ours

    @require_fb_token(scopes=["email"], guard=guard)
    class Base(View):
        def dispatch_request(self):
            return "base"

    class Child(Base):
        @functools.wraps(Base.dispatch_request)  # takes over the attributes, too
        def dispatch_request(self):
            return "child"

    is_guarded(Child, sandbox, of_flask)


def test_a_mixin_keeps_its_own_init_subclass(ours):
    sandbox, guard = ours
    made: list[str] = []

    class Registry(FlaskDispatch):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            made.append(cls.__name__)

    @require_fb_token(scopes=["email"], guard=guard)
    class Guarded(View):
        pass

    class Report(Registry, Guarded):
        pass

    assert made == ["Report"]
    is_guarded(Report, sandbox, of_flask)


def test_an_async_generator_is_refused_at_decoration(ours):
    async def stream():
        yield b""

    with pytest.raises(TypeError, match="async generator"):
        require_fb_token(guard=ours[1])(stream)


@pytest.mark.parametrize("path", ["/a/*", "/a/<id>", "/:id", "/caf%C3%A9", "/x?y=1", "/x#y"])
def test_patterns_of_others_are_no_literals(path):
    with pytest.raises(ValueError, match="percent-decoded"):
        Rule(path)


@pytest.mark.parametrize("methods", [["GET,POST"], [""], ["GET "]])
def test_verbs_are_tokens(methods):
    with pytest.raises(ValueError, match="methods"):
        Rule("/x", methods=methods)


@pytest.mark.parametrize("value", [1, ["1"], b"1"])
def test_a_target_callable_returns_text_or_none(ours, value):
    sandbox, guard = ours
    requirement = Requirement(scopes=["email"], target=lambda _params: value)  # type: ignore[arg-type,return-value]
    with pytest.raises(RuntimeError, match="target"):
        guard.check(sandbox.issue_token(scopes=["email"]), requirement, {})


@pytest.mark.parametrize("place", ["route", "router", "app", "annotated"])
@pytest.mark.parametrize("cls", [FBToken, OptionalFBToken])
def test_a_dependency_without_parentheses_is_said_at_registration(cls, place):
    def plain() -> None:
        pass

    def annotated(token: Any = Depends(cls)) -> None:  # noqa: B008 - FastAPI's way
        del token

    def register() -> None:
        app, asked = FastAPI(), [Depends(cls)]
        if place == "app":
            FastAPI(dependencies=asked).get("/")(plain)
        elif place == "router":
            APIRouter(dependencies=asked).get("/")(plain)
        elif place == "route":
            app.get("/", dependencies=asked)(plain)
        else:
            app.get("/")(annotated)

    with pytest.raises(TypeError, match=rf"Depends\({cls.__name__}\(\)\), with parentheses"):
        register()


# -- facts that are asked for anew --------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["rule", "view", "both"])
@pytest.mark.parametrize("side", ["asgi", "wsgi"])
def test_fresh_facts_must_meet_all_that_is_asked_on_the_way(graph, clock, outer, side):
    """The view that insists on news may ask for less than its door, and than the decorator above it."""
    email = require_fb_token(scopes=["email"])
    fresh = require_fb_token(max_fact_age=0)
    policy = None if outer == "view" else Policy(Rule("/x", scopes=["email"]))

    async def in_asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def in_wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    graph.default = valid(scopes=["email"])
    with make_guard(graph, clock) as guard:
        view: Any = fresh(in_asgi if side == "asgi" else in_wsgi)
        view = view if outer == "rule" else email(view)
        door: Any = (asgi if side == "asgi" else wsgi).FBTokenMiddleware(view, guard, policy=policy)

        def status() -> int:
            bearer = [("Authorization", f"Bearer {TOKEN}")]
            if side == "asgi":
                return asyncio.run(call_asgi(door, http_scope("/x", headers=bearer))).status
            return call_wsgi(door, wsgi_environ("/x", headers=bearer)).status

        assert status() == 200
        graph.default = valid(scopes=["public_profile"])  # the person has taken it back
        assert [status(), status()] == [403, 403]


@pytest.mark.parametrize("policy", [None, Policy(Rule("/{rest:path}", scopes=["email"]))])
def test_a_view_that_is_judged_again_and_again_notes_it_once(ours, policy):
    """For each message of a WebSocket, say, which may be open for days."""
    sandbox, guard = ours

    @require_fb_token
    def helper(environ: Any) -> None:
        pass

    @require_fb_token(scopes=["email"], min_remaining=1)
    def another(environ: Any) -> None:
        pass

    def app(environ: Any, start_response: Any) -> list[bytes]:
        for _ in range(50):
            helper(environ)
            another(environ)
        assert len(asked_of(environ)) == 2
        start_response("200 OK", [])
        return []

    bearer = sandbox.bearer(sandbox.issue_token(scopes=["email"]))
    answer = call_wsgi(
        wsgi.FBTokenMiddleware(app, guard, policy=policy), wsgi_environ("/x", headers=[*bearer.items()])
    )
    assert answer.status == 200
