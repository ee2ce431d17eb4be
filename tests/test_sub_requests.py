"""What an app asks of itself with a copy of its own request and another token: two requests, two people."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from fbguard import Guard, Policy, Refused, Requirement, Rule, asgi, current_token, require_fb_token, wsgi
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import FBAuthBackend
from fbguard.live import Cut
from tests.support import (
    TOKEN,
    FakeClock,
    FakeGraph,
    Server,
    call_asgi,
    http_scope,
    make_guard,
    valid,
    wsgi_environ,
)

SERVICE = f"{TOKEN}service"
POLICIES: dict[str, Policy | None] = {
    "views decide": None,
    "public": Policy(Rule("/{rest:path}", public=True)),
    "optional": Policy(default=Requirement(optional=True)),
    "guarded": Policy(),
}


@pytest.fixture
def guard(graph: FakeGraph, clock: FakeClock) -> Iterator[Guard]:
    graph.replies = {TOKEN: valid(user_id="1", scopes=[]), SERVICE: valid(user_id="999", scopes=["admin"])}
    with make_guard(graph, clock) as guard:
        yield guard


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


@require_fb_token(scopes=["admin"])
async def admin(request: Request) -> PlainTextResponse:
    return PlainTextResponse(current_token(required=True).user_id or "")


INNER = {
    "an app": Starlette(routes=[Route("/quota", admin)]),
    "a router": Router([Route("/quota", admin)]),
}


class AsksOfItself:
    """Middleware that asks something with the service's token before it serves a request."""

    def __init__(self, app: Any, inner: Any) -> None:
        self._app = app
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            answer = await call_asgi(self._inner, {**scope, "path": "/quota", "headers": bearer(SERVICE)})
            assert answer.body == b"999"
        await self._app(scope, receive, send)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_becomes_who_was_asked_for(guard, policy, inner):
    middleware = [Middleware(AsksOfItself, inner=INNER[inner])]
    app = Starlette(routes=[Route("/admin", admin)], middleware=middleware)
    door = asgi.FBTokenMiddleware(app, guard, policy=POLICIES[policy])
    for _ in range(2):
        assert asyncio.run(call_asgi(door, http_scope("/admin"))).status == 401
        asked = http_scope("/admin", headers=[("Authorization", f"Bearer {TOKEN}")])
        assert asyncio.run(call_asgi(door, asked)).status == 403


@require_fb_token
async def whoami(request: Request) -> PlainTextResponse:
    assert request.state.fb_token is current_token()
    return PlainTextResponse(current_token(required=True).user_id or "")


def whoami_apps(guard: Guard) -> dict[str, Any]:
    routes = [Route("/quota", whoami)]
    return {
        "an app": Starlette(routes=routes),
        "a router": Router(routes),
        "a door": asgi.FBTokenMiddleware(Starlette(routes=routes), guard),
        "a door that leaves it to views": asgi.FBTokenMiddleware(Router(routes), guard, policy=None),
    }


DOORS = ["a door", "a door that leaves it to views"]


@pytest.mark.parametrize("policy", ["views decide", "optional", "guarded"])
@pytest.mark.parametrize(
    ("inner", "headers"),
    # Of an app without a door Starlette reads them more than once.
    [(inner, headers) for inner in [*INNER, *DOORS] for headers in (list, tuple)]
    + [(inner, iter) for inner in DOORS],
)
def test_the_state_of_a_request_keeps_its_own_facts(guard, inner, policy, headers):
    """The copy of a scope shares ``state`` with the original."""

    @require_fb_token
    async def asking(request: Request) -> PlainTextResponse:
        request.state.mine = "kept"
        copied = {**request.scope, "path": "/quota", "headers": headers(bearer(SERVICE))}
        answer = await call_asgi(whoami_apps(guard)[inner], copied)
        assert answer.body == b"999"
        assert request.state.mine == "kept"
        assert request.state.fb_token.user_id == Request(request.scope).state.fb_token.user_id
        return PlainTextResponse(request.state.fb_token.user_id)

    app = Starlette(routes=[Route("/x", asking)])
    door = asgi.FBTokenMiddleware(app, guard, policy=POLICIES[policy])
    asked = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    for _ in range(2):
        assert asyncio.run(call_asgi(door, dict(asked))).body == b"1"


def test_a_request_made_by_hand_that_was_asked_for_its_state_has_its_own_facts(guard):
    @require_fb_token
    async def asking(request: Request) -> PlainTextResponse:
        copied = Request({**request.scope, "headers": bearer(SERVICE)})
        copied.state.seen = True
        answer = await whoami(copied)
        return PlainTextResponse(f"{bytes(answer.body).decode()} {request.state.fb_token.user_id}")

    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/x", asking)]), guard)
    for _ in range(2):
        asked = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
        assert asyncio.run(call_asgi(door, asked)).body == b"999 1"


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_views_own_guard_reads_the_copy_in_its_own_places(guard, graph, clock, kind):
    """The copy has another cookie, which the door's guard does not read."""
    with make_guard(graph, clock, token_from=["cookie:fb"]) as own:
        needs_admin = require_fb_token(scopes=["admin"], guard=own)

        @needs_admin
        async def asked_asgi(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("in")(scope, receive, send)

        @needs_admin
        def asked_wsgi(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"in"]

        async def app_asgi(scope: Any, receive: Any, send: Any) -> None:
            headers = [*scope["headers"][:1], (b"cookie", f"fb={TOKEN}".encode())]
            await asked_asgi({**scope, "headers": headers}, receive, send)

        def app_wsgi(environ: Any, start_response: Any) -> Any:
            return asked_wsgi({**environ, "HTTP_COOKIE": f"fb={TOKEN}"}, start_response)

        headers = [("Authorization", f"Bearer {TOKEN}"), ("Cookie", f"fb={SERVICE}")]
        both = {"token_from": ["header", "cookie:other"]}  # so that the door marks what goes out
        with make_guard(graph, clock, **both) as outer:
            if kind == "asgi":
                answer: Any = asyncio.run(
                    call_asgi(asgi.FBTokenMiddleware(app_asgi, outer), http_scope("/x", headers=headers))
                )
            else:
                door = wsgi.FBTokenMiddleware(app_wsgi, outer)
                answer = Server().serve(door, wsgi_environ("/x", headers=headers))
        assert answer.status == 403


class Exchanges:
    """Middleware that serves the same request with another token, in a scope of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "headers": bearer(SERVICE)}, receive, send)


@pytest.mark.parametrize("policy", ["views decide", "optional", "guarded"])
@pytest.mark.parametrize("inner", INNER)
def test_all_else_in_the_state_is_shared_as_before(guard, inner, policy):
    seen: list[Any] = []

    @require_fb_token(scopes=["admin"])
    async def writing(request: Request) -> PlainTextResponse:
        request.state.count += 1
        request.state.wrote = request.state.fb_token.user_id
        assert {**request.scope["state"]}.keys() == {"count", "wrote", "gone", "fb_token"}
        assert len(request.scope["state"].copy()) == 4
        assert (request.scope["state"] | {"more": 1}).keys() == ({"more": 1} | request.scope["state"]).keys()
        request.scope["state"] |= {"last": 1}
        del request.state.gone
        return PlainTextResponse("in")

    async def around(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] |= {"count": 1, "gone": True}
        await Exchanges(below)(scope, receive, send)
        seen.append(dict(scope["state"]))

    routes = [Route("/x", writing)]
    below = Starlette(routes=routes) if inner == "an app" else Router(routes)
    door = asgi.FBTokenMiddleware(around, guard, policy=POLICIES[policy])
    asked = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert asyncio.run(call_asgi(door, {**asked, "state": {}})).body == b"in"
    assert (seen[0]["count"], seen[0]["wrote"]) == (2, "999")
    assert "gone" not in seen[0]
    assert seen[0]["last"] == 1
    assert getattr(seen[0]["fb_token"], "user_id", None) == (None if policy == "views decide" else "1")


@require_fb_token(scopes=["admin"])
async def plain_admin(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("in")(scope, receive, send)


@require_fb_token(scopes=["admin"])
def wsgi_admin(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"in"]


async def elsewhere(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(work()))


async def without_context(work: Callable[[], Any]) -> Any:
    return await asyncio.create_task(work(), context=contextvars.Context())


async def here(work: Callable[[], Any]) -> Any:
    return await work()


ASKED: dict[str, Any] = {**INNER, "a plain view": plain_admin}


@pytest.mark.parametrize(
    ("inner", "how"),
    # Only of an app the view knows its request by itself.
    [(inner, here) for inner in ASKED] + [("an app", elsewhere), ("an app", without_context)],
)
@pytest.mark.parametrize("kind", ["copied", "a copy in a copy"])
def test_a_request_for_a_lesser_token_is_not_let_in_by_the_greater_one(guard, kind, inner, how):
    """The door has judged the service's token; what its app asks of itself carries a person's."""
    answers: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        copied = {**scope, "path": "/quota", "headers": bearer(TOKEN)}

        async def again(_scope: Any, _receive: Any, _send: Any) -> None:
            await carry({**copied})

        if kind == "copied":
            await carry(copied)
        else:
            await require_fb_token(again)({**scope, "headers": bearer(TOKEN)}, receive, send)
        await PlainTextResponse("out")(scope, receive, send)

    async def carry(asked: Any) -> None:
        try:
            answers.append((await how(lambda: call_asgi(ASKED[inner], asked))).status)
        except Refused as refused:
            answers.append(refused.status)

    door = asgi.FBTokenMiddleware(app, guard)
    asked = http_scope("/x", headers=[("Authorization", f"Bearer {SERVICE}")])
    assert asyncio.run(call_asgi(door, asked)).status == 200
    assert answers == [403]


@pytest.mark.parametrize("sent", [TOKEN, None])
def test_nor_one_that_is_made_anew_for_a_plain_view(guard, sent):
    """No copy: there is nothing of the door's in it, and nothing to go by but its own token."""
    headers = [] if sent is None else [("Authorization", f"Bearer {sent}")]
    status = 401 if sent is None else 403

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(Refused) as caught:
            await call_asgi(plain_admin, http_scope("/quota", headers=headers))
        assert caught.value.status == status
        await PlainTextResponse("out")(scope, receive, send)

    def app_wsgi(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(Refused) as caught:
            wsgi_admin(wsgi_environ("/quota", headers=headers), lambda *_: None)
        assert caught.value.status == status
        start_response("200 OK", [])
        return []

    mine = [("Authorization", f"Bearer {SERVICE}")]
    asked = http_scope("/x", headers=mine)
    assert asyncio.run(call_asgi(asgi.FBTokenMiddleware(app, guard), asked)).status == 200
    door = wsgi.FBTokenMiddleware(app_wsgi, guard)
    assert Server().serve(door, wsgi_environ("/x", headers=mine)).status == 200


@pytest.mark.parametrize("kind", ["copied", "new"])
def test_nor_one_that_a_view_of_flask_asks_an_app_of_wsgi(guard, kind):
    app = flask.Flask(__name__)
    FBGuard(app, guard)

    @app.get("/x")
    def asking() -> str:
        asked = wsgi_environ("/quota", headers=[("Authorization", f"Bearer {TOKEN}")])
        environ = {**flask.request.environ, **asked} if kind == "copied" else asked
        with pytest.raises(Refused) as caught:
            wsgi_admin(environ, lambda *_: None)
        assert caught.value.status == 403
        assert wsgi_admin(flask.request.environ, lambda *_: None) == [b"in"]
        return flask.g.fb_token.user_id

    environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {SERVICE}")])
    assert Server().serve(app, environ).body == b"999"


def test_what_a_view_is_given_besides_is_no_request(guard):
    """An event, say, that a client has sent: with headers, and with callables behind it."""

    @require_fb_token(scopes=["admin"])
    def handle(*_event: Any) -> str:
        return current_token(required=True).user_id or ""

    sent = [["authorization", f"Bearer {TOKEN}"]]
    events: list[Any] = [
        {"REQUEST_METHOD": "GET", "headers": sent},
        {"type": "http", "headers": sent},
        {"type": "http", "headers": {"content-type": "a/b"}},
        {"type": "http", "headers": None},
        {"type": "http", "headers": [1]},
        {"type": "http", "headers": []},
        {"type": []},
        {"type": {}, "headers": sent},
        {"REQUEST_METHOD": "GET", "wsgi.input": 0, "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"},
        {"REQUEST_METHOD": "GET", "wsgi.input": 0, "fbguard.left": 1},
        {"headers": {}},
    ]
    before = copy.deepcopy(events)

    class Holder:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        handle = require_fb_token(scopes=["admin"])(lambda self: current_token(required=True).user_id)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        for event in events:
            assert Holder(event).handle() == handle(event, print) == handle(event, "done") == "999"
            assert handle(event, print, print) == "999"
        assert events == before
        start_response("200 OK", [])
        return [handle(events[0], print).encode()]

    environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {SERVICE}")])
    assert Server().serve(wsgi.FBTokenMiddleware(app, guard), environ).body == b"999"


def test_g_keeps_the_facts_of_its_own_request(guard):
    app = flask.Flask(__name__)
    FBGuard(app, guard)
    app.add_url_rule("/q", "q", lambda: flask.g.fb_token.user_id)

    @app.get("/x")
    def asking() -> str:
        copied = {**flask.request.environ, "PATH_INFO": "/q", "HTTP_AUTHORIZATION": f"Bearer {SERVICE}"}
        assert Server().serve(app, copied).body == b"999"
        return f"{flask.g.fb_token.user_id} {current_token(required=True).user_id}"

    environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert Server().serve(app, environ).body == b"1 1"


def test_a_copy_that_has_a_state_of_its_own_gets_its_facts_there(guard):
    async def asking(request: Request) -> PlainTextResponse:
        own = {"mine": 1}
        copied = {**request.scope, "path": "/quota", "headers": bearer(SERVICE), "state": own}
        await call_asgi(whoami_apps(guard)["a door"], copied)
        assert (copied["state"]["fb_token"].user_id, copied["state"]["mine"]) == ("999", 1)
        return PlainTextResponse(request.state.fb_token.user_id)

    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/x", asking)]), guard)
    asked = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert asyncio.run(call_asgi(door, asked)).body == b"1"


@pytest.mark.parametrize("with_fbguard", [True, False])
def test_what_flask_does_at_the_end_of_a_request_finds_its_own_facts(guard, with_fbguard):
    """Functions for the end run in the order opposite to that in which they were registered."""
    seen: list[tuple[str, str, str | None]] = []
    app = flask.Flask(__name__)

    @app.teardown_request
    def audit(_error: BaseException | None) -> None:
        current = current_token()
        seen.append((flask.request.path, flask.g.fb_token.user_id, current and current.user_id))

    if with_fbguard:
        FBGuard(app, guard)
    else:
        app.wsgi_app = wsgi.FBTokenMiddleware(app.wsgi_app, guard)  # type: ignore[method-assign]

    @app.get("/x")
    def asking() -> str:
        app.test_client().get("/in", headers={"Authorization": f"Bearer {SERVICE}"})
        return ""

    app.add_url_rule("/in", "in", lambda: "")
    app.test_client().get("/x", headers={"Authorization": f"Bearer {TOKEN}"})
    assert seen == [("/in", "999", "999"), ("/x", "1", "1")]


def test_an_app_that_is_no_flask_is_not_taken_for_one(guard):
    class Micro:
        def register_error_handler(self, _kind: Any, _handler: Any) -> None:
            pass

        def __call__(self, _environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"x"]

    door = wsgi.FBTokenMiddleware(Micro(), guard)
    environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert Server().serve(door, environ).body == b"x"


def test_a_worker_that_began_in_another_request_keeps_its_facts_out_of_this_one(guard):
    """It has the context of the first request, and serves copies of later ones."""
    seen: list[str] = []

    async def main() -> None:
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        workers: list[Any] = []

        async def work() -> None:
            while True:
                scope, done = await waiting.get()
                copied = {**scope, "path": "/quota", "headers": bearer(SERVICE)}
                await call_asgi(whoami_apps(guard)["a door"], copied)
                done.set_result(None)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if not workers:
                workers.append(asyncio.create_task(work()))
            done = asyncio.get_running_loop().create_future()
            waiting.put_nowait((scope, done))
            await done
            seen.append(scope["state"]["fb_token"].user_id)
            await PlainTextResponse("")(scope, receive, send)

        door = asgi.FBTokenMiddleware(app, guard)
        for _ in range(2):
            await call_asgi(door, http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")]))
        workers[0].cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    asyncio.run(main())
    assert seen == ["1", "1"]


def test_a_backend_keeps_its_facts_out_of_the_state_around(guard):
    async def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.user.identity)

    backend = Middleware(
        AuthenticationMiddleware, backend=FBAuthBackend(guard), on_error=FBAuthBackend.on_error
    )
    inner = Starlette(routes=[Route("/q", who)], middleware=[backend])

    async def asking(request: Request) -> PlainTextResponse:
        answer = await call_asgi(inner, {**request.scope, "path": "/q", "headers": bearer(SERVICE)})
        return PlainTextResponse(f"{answer.body.decode()} {request.state.fb_token.user_id}")

    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/x", asking)]), guard)
    asked = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
    assert asyncio.run(call_asgi(door, asked)).body == b"999 1"


# -- live responses: the end of the own session cuts, that of the one asked for does not ---


def ticks() -> Iterator[bytes]:
    yield from (b"one", b"two", b"three")


def live_asgi(guard: Guard, inner: str, by: str) -> Callable[[Callable[[], None]], list[bytes]]:
    async def stream(request: Request) -> StreamingResponse:
        await call_asgi(INNER[inner], {**request.scope, "path": "/quota", "headers": bearer(SERVICE)})

        async def body() -> Any:
            for chunk in ticks():
                yield chunk
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        return StreamingResponse(body())

    view = stream if by == "rule" else require_fb_token(live=True)(stream)
    policy = Policy(Rule("/x", live=True)) if by == "rule" else None
    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/x", view)]), guard, policy=policy)

    def serve(end: Callable[[], None]) -> list[bytes]:
        chunks: list[bytes] = []

        async def send(message: Any) -> None:
            if message.get("body"):
                chunks.append(message["body"])
                if len(chunks) == 1:
                    end()

        async def receive() -> Any:
            return await asyncio.Future()

        scope = http_scope("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
        asyncio.run(door(scope, receive, send))
        return chunks

    return serve


def live_wsgi(guard: Guard, _inner: str, by: str) -> Callable[[Callable[[], None]], list[bytes]]:
    @require_fb_token(scopes=["admin"])
    def asked(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        asked({**environ, "HTTP_AUTHORIZATION": f"Bearer {SERVICE}"}, lambda *_: None)
        start_response("200 OK", [])
        return ticks()

    view = stream if by == "rule" else require_fb_token(live=True)(stream)
    door = wsgi.FBTokenMiddleware(view, guard, policy=Policy(Rule("/x", live=True)) if by == "rule" else None)

    def serve(end: Callable[[], None]) -> list[bytes]:
        environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {TOKEN}")])
        chunks: list[bytes] = []
        for chunk in door(environ, lambda *_: lambda _data: None):
            chunks.append(chunk)
            if len(chunks) == 1:
                end()
        return chunks

    return serve


@pytest.mark.parametrize("by", ["rule", "view"])
@pytest.mark.parametrize(("kind", "inner"), [(live_asgi, "an app"), (live_asgi, "a router"), (live_wsgi, "")])
def test_a_live_response_ends_with_its_own_session(guard, kind, inner, by):
    with pytest.raises((Cut, ExceptionGroup)):
        kind(guard, inner, by)(lambda: guard.expire_session(TOKEN))


@pytest.mark.parametrize("by", ["rule", "view"])
@pytest.mark.parametrize(("kind", "inner"), [(live_asgi, "an app"), (live_asgi, "a router"), (live_wsgi, "")])
def test_and_not_with_that_of_whom_it_asked_for(guard, kind, inner, by):
    assert kind(guard, inner, by)(lambda: guard.expire_session(SERVICE)) == list(ticks())
