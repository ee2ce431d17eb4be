"""``@require_fb_token`` in Starlette and Flask views, sync and async, wherever the door stands."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from fbguard import Guard, Policy, Requirement, Rule, asgi, current_token, require_fb_token, wsgi
from fbguard.core import background
from tests.support import (
    TOKEN,
    Answer,
    call_asgi,
    call_wsgi,
    dead,
    envelope,
    http_scope,
    valid,
    wsgi_environ,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio", "no_warnings")

PUBLIC = Policy(Rule("/{rest:path}", public=True))
GUARDED = Policy()
STACKS = [
    (framework, place, colour)
    for framework in ("starlette", "flask")
    for place in ("around", "inside")
    for colour in ("sync", "async")
]


@pytest.fixture
def no_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    loud = [f"{record.name}: {record.getMessage()}" for record in caplog.records if record.levelno >= 30]
    assert loud == []


class Stack:
    """An app with one view at ``/pages/{page}``, and its door around the app or in its stack.

    ``asks`` are arguments for the guard that the view itself asks, in its own colour.
    """

    def __init__(
        self,
        framework: str,
        place: str,
        colour: str,
        guard: Guard,
        policy: Policy | None = None,
        decorate: Callable[[Any], Any] = lambda view: view,
        asks: tuple[object, ...] = (),
    ) -> None:
        self.users: list[str | None] = []
        self.framework = framework
        view = decorate((self._async_view if colour == "async" else self._sync_view)(guard, asks))
        self.app = getattr(self, f"_{framework}")(view, guard, policy, place)

    def _note(self) -> str:
        info = current_token()
        if self.framework == "flask":
            assert request.environ["fbguard.token"] is info
        self.users.append(info and info.user_id)
        return "hello"

    def _sync_view(self, guard: Guard, asks: tuple[Any, ...]) -> Any:
        def view(*args: object, **kwargs: object) -> Any:
            if asks:
                guard.check(*asks)
            return self._say(self._note())

        return view

    def _async_view(self, guard: Guard, asks: tuple[Any, ...]) -> Any:
        async def view(*args: object, **kwargs: object) -> Any:
            if asks:
                await guard.acheck(*asks)
            return self._say(self._note())

        return view

    def _say(self, text: str) -> Any:
        return PlainTextResponse(text) if self.framework == "starlette" else text

    def _starlette(self, view: Any, guard: Guard, policy: Policy | None, place: str) -> Any:
        routes = [Route("/pages/{page}", view), Mount("/mounted", routes=[Route("/pages/{page:int}", view)])]
        if place == "inside":
            return Starlette(
                routes=routes, middleware=[Middleware(asgi.FBTokenMiddleware, guard, policy=policy)]
            )
        return asgi.FBTokenMiddleware(Starlette(routes=routes), guard, policy=policy)

    def _flask(self, view: Any, guard: Guard, policy: Policy | None, place: str) -> Any:
        app = Flask("decorated")
        app.add_url_rule("/pages/<page>", "view", view)
        app.add_url_rule("/mounted/pages/<int:page>", "mounted", view)
        if place == "around":
            return wsgi.FBTokenMiddleware(app, guard, policy=policy)
        app.wsgi_app = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=policy)
        return app

    def send(self, token: str | None = None, path: str = "/pages/111", method: str = "GET") -> Answer:
        headers = [] if token is None else [("Authorization", f"Bearer {token}")]
        before = len(self.users)
        if self.framework == "starlette":
            answer = asyncio.run(call_asgi(self.app, http_scope(path, method, headers)))
        else:
            answer = call_wsgi(self.app, wsgi_environ(path, method, headers))
        answer.ran = len(self.users) > before
        return answer


@pytest.fixture(params=STACKS, ids="-".join)
def stack(request: pytest.FixtureRequest, guard: Guard) -> Callable[..., Stack]:
    return functools.partial(Stack, *request.param, guard)


def refusal(answer: Answer) -> tuple[int, str]:
    assert not answer.ran
    return answer.status, answer.reason


# -- who looks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, PUBLIC, Policy(default=Requirement(optional=True)), GUARDED])
def test_what_the_door_has_not_looked_at(stack, guard, graph, policy):
    made = stack(policy, require_fb_token(scopes=["email"]))
    assert refusal(made.send()) == (401, "missing_token")
    assert refusal(made.send("a|b")) == (401, "malformed_token")
    assert graph.calls == []
    assert made.send(TOKEN).body == b"hello"
    assert made.send(TOKEN).body == b"hello"
    assert made.users == ["1001", "1001"]
    assert graph.calls == [TOKEN]


def test_without_a_decorator_policy_none_guards_nothing(stack, graph):
    made = stack(None)
    assert made.send(TOKEN).status == made.send("a|b").status == made.send().status == 200
    assert (made.users, graph.calls) == ([None] * 3, [])


def test_both_must_hold(stack, graph):
    made = stack(Policy(default=Requirement(scopes=["email"])), require_fb_token(scopes=["user_posts"]))
    answer = made.send(TOKEN)
    assert refusal(answer) == (403, "insufficient_scope")
    assert 'scope="user_posts"' in answer.challenge
    graph.replies["posts only"] = valid(scopes=["user_posts"])
    graph.replies["postsonly"] = valid(scopes=["user_posts"])
    assert 'scope="email"' in made.send("postsonly").challenge
    graph.replies["both"] = valid(scopes=["user_posts", "email"])
    assert made.send("both").status == 200


@pytest.mark.parametrize("policy", [None, GUARDED], ids=["none", "guarded"])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (dead(190, 463), (401, "expired")),
        (dead(190, 460), (401, "password_changed")),
        (valid(app_id="9"), (401, "wrong_app")),
        (valid(scopes=[]), (403, "insufficient_scope")),
        (envelope(17), (503, "throttled")),
        (envelope(1), (503, "unavailable")),
        (OSError(), (503, "unavailable")),
    ],
)
def test_every_kind_of_refusal(stack, graph, policy, reply, expected):
    graph.replies[TOKEN] = reply
    answer = stack(policy, require_fb_token(scopes=["email"])).send(TOKEN)
    assert refusal(answer) == expected
    assert answer.header("cache-control") == "no-store"
    assert (answer.header("www-authenticate") is None) == (expected[0] == 503)


def test_an_optional_decorator(stack):
    made = stack(None, require_fb_token(optional=True))
    assert (made.send().status, made.send(TOKEN).status) == (200, 200)
    assert made.users == [None, "1001"]
    assert refusal(made.send("a|b")) == (401, "malformed_token")


def test_two_decorators(stack, graph):
    outer, inner = require_fb_token(scopes=["email"]), require_fb_token(scopes=["user_posts"])
    made = stack(None, lambda view: outer(inner(view)))
    assert 'scope="user_posts"' in made.send(TOKEN).challenge
    assert len(graph.calls) == 1


def test_head(stack):
    answer = stack(None, require_fb_token()).send(method="HEAD")
    assert (answer.status, answer.body) == (401, b"")


def test_a_hundred_refusals(stack):
    made = stack(None, require_fb_token())
    assert {made.send().status for _ in range(100)} == {401}


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, GUARDED], ids=["none", "guarded"])
@pytest.mark.parametrize("target", ["page", lambda params: str(params["page"])], ids=["name", "callable"])
def test_the_target_is_a_routed_parameter(stack, graph, policy, target):
    granular = [{"scope": "email", "target_ids": ["111"]}]
    graph.replies[TOKEN] = valid(granular_scopes=granular)
    made = stack(policy, require_fb_token(scopes=["email"], target=target))
    assert made.send(TOKEN, "/pages/111").status == 200
    assert made.send(TOKEN, "/mounted/pages/111").status == 200  # an int of the router, compared as text
    assert refusal(made.send(TOKEN, "/pages/222")) == (403, "insufficient_target")
    assert refusal(made.send(TOKEN, "/mounted/pages/222")) == (403, "insufficient_target")


def test_a_target_that_the_route_has_not_is_never_a_pass(guard):
    @require_fb_token(scopes=["email"], target="shop")
    async def view(req: Any) -> Response:
        raise AssertionError("it ran")

    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/pages/{page}", view)]), guard, policy=None)
    headers = [("Authorization", f"Bearer {TOKEN}")]
    with pytest.raises(RuntimeError, match="'shop'"):
        asyncio.run(call_asgi(door, http_scope("/pages/111", headers=headers)))


# -- views that ask by themselves ------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, GUARDED], ids=["none", "guarded"])
@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        ((None,), (401, "missing_token")),
        (("dead",), (401, "expired")),
        (("throttled",), (503, "throttled")),
        ((TOKEN, Requirement(scopes=["user_posts"])), (403, "insufficient_scope")),
    ],
)
def test_a_refusal_that_a_view_lets_escape(stack, graph, policy, asks, expected):
    graph.replies |= {"dead": dead(190, 463), "throttled": envelope(4)}
    made = stack(policy, asks=asks)
    for _ in range(2):
        assert refusal(made.send(TOKEN)) == expected


def test_a_view_that_asks_and_passes(stack, guard, graph):
    made = stack(None, asks=("other",))
    assert made.send().status == 200
    assert graph.calls == ["other"]


@pytest.mark.parametrize(
    ("decorate", "asks"),
    [(require_fb_token(), ()), (lambda view: view, (TOKEN,))],
    ids=["decorated", "asks itself"],
)
def test_an_async_view_under_wsgi_looks_up_on_the_guards_own_loop(guard, graph, decorate, asks):
    """Its loop lives for one request: a client made there would never be closed."""
    made = Stack("flask", "around", "async", guard, None, decorate, asks)
    assert made.send(TOKEN).status == 200
    assert graph.loops == [background.running()]


# -- kinds of views --------------------------------------------------------------------------------


def test_name_and_signature_stay():
    @require_fb_token
    def view(request: object, page: int = 1) -> str:
        """Say something."""
        return ""

    assert (view.__name__, view.__doc__) == ("view", "Say something.")
    assert list(inspect.signature(view).parameters) == ["request", "page"]
    assert not inspect.iscoroutinefunction(view)

    @require_fb_token()
    async def other() -> None: ...

    assert inspect.iscoroutinefunction(other)


def test_methods_of_class_based_views(guard):
    class Star(HTTPEndpoint):
        @require_fb_token(scopes=["email"], target="page")
        async def get(self, req: Any) -> Response:
            return PlainTextResponse(req.state.fb_token.user_id)

    class Flaskly(MethodView):
        @require_fb_token(scopes=["email"], target="page")
        def get(self, page: str) -> str:
            return current_token(required=True).user_id or ""

    app = Flask("methods")
    app.add_url_rule("/pages/<page>", view_func=Flaskly.as_view("flaskly"))
    star = asgi.FBTokenMiddleware(Starlette(routes=[Route("/pages/{page}", Star)]), guard, policy=None)
    flaskly = wsgi.FBTokenMiddleware(app, guard, policy=None)
    for token, status in ((TOKEN, 200), ("a|b", 401)):
        headers = [("Authorization", f"Bearer {token}")]
        assert asyncio.run(call_asgi(star, http_scope("/pages/1", headers=headers))).status == status
        assert call_wsgi(flaskly, wsgi_environ("/pages/1", headers=headers)).status == status


def _endpoint(guarded: Any) -> Any:
    async def endpoint(req: Any) -> Response:
        return await guarded(req)

    return endpoint


def test_partials_and_callable_objects(guard):
    class View:
        async def __call__(self, req: Any) -> Response:
            return PlainTextResponse("object")

    async def two(word: str, req: Any) -> Response:
        return PlainTextResponse(word)

    for view, body in ((View(), b"object"), (functools.partial(two, "partial"), b"partial")):
        app = Starlette(routes=[Route("/", _endpoint(require_fb_token(view)))])
        door = asgi.FBTokenMiddleware(app, guard, policy=None)
        assert asyncio.run(call_asgi(door, http_scope())).status == 401
        headers = [("Authorization", f"Bearer {TOKEN}")]
        assert asyncio.run(call_asgi(door, http_scope(headers=headers))).body == body


def test_an_app_with_handlers_of_its_own(guard):
    """A catch-all for errors does not swallow refusals."""

    async def on_error(req: Any, exc: Exception) -> Response:
        return PlainTextResponse("oops", 500)

    @require_fb_token
    async def view(req: Any) -> Response:
        raise AssertionError("it ran")

    star = Starlette(routes=[Route("/", view)], exception_handlers={Exception: on_error, 500: on_error})
    app = Flask("handlers")
    app.register_error_handler(Exception, lambda exc: ("oops", 500))
    app.add_url_rule("/", "view", require_fb_token(lambda: "never"))
    answers = [
        asyncio.run(call_asgi(asgi.FBTokenMiddleware(star, guard, policy=None), http_scope())),
        call_wsgi(wsgi.FBTokenMiddleware(app, guard, policy=None), wsgi_environ()),
    ]
    assert [refusal(answer) for answer in answers] == [(401, "missing_token")] * 2


def test_after_request_sees_the_refusal(guard):
    app = Flask("after")
    app.add_url_rule("/", "view", require_fb_token(lambda: "never"))
    app.after_request(
        lambda response: response.headers.update({"X-Seen": str(response.status_code)}) or response
    )
    answer = call_wsgi(wsgi.FBTokenMiddleware(app, guard, policy=None), wsgi_environ())
    assert (answer.status, answer.header("x-seen")) == (401, "401")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": ["email"]}, "require_fb_token has no option 'scope'; is it 'scopes'?"),
        ({"public": True}, "require_fb_token has no option 'public': that is for a Rule"),
        ({"guards": None}, "require_fb_token has no option 'guards'; is it 'guard'?"),
    ],
)
def test_what_a_keyword_should_have_been(options, says):
    with pytest.raises(TypeError, match=f"^{re.escape(says)}$"):
        require_fb_token(**options)
