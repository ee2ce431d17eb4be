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
from tests.support import TOKEN, FakeClock, FakeGraph, call_asgi, http_scope, make_guard, valid, wsgi_environ

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
