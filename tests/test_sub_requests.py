"""What an app asks of itself with a copy of its own request and another token: two requests, two people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from fbguard import Guard, Policy, Requirement, Rule, asgi, current_token, require_fb_token, wsgi
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
