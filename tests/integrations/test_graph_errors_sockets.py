"""What Graph told a WebSocket's view: before it is accepted, while it is open, after it was closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from fbguard import Guard, OAuthException, asgi, require_fb_token
from fbguard.integrations.fastapi import FBToken
from tests.integrations.graph_errors import Copying
from tests.support import TOKEN, http_scope, valid

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

DENIAL = {"extensions": {"websocket.http.response": {}}}
OTHER = "EAABanotherPersonsToken0123456789"
View = Callable[[WebSocket], Any]
REFUSED = {"type": "websocket.close", "code": 1008, "reason": "password_changed"}
OPENED = {"type": "websocket.accept", "subprotocol": None, "headers": []}


def over() -> OAuthException:
    return OAuthException("over", code=190, subcode=460)


def _starlette(place: str) -> Callable[[View, Guard], Any]:
    def make(view: View, guard: Guard) -> Any:
        inside: list[Any] = []
        if "inside" in place:
            inside = [Middleware(asgi.FBTokenMiddleware, guard, policy=None)]
        if "copy" in place:
            inside.append(Middleware(Copying))
        given = guard if place == "guard=" else None
        app = Starlette(
            routes=[WebSocketRoute("/ws", require_fb_token(guard=given)(view))], middleware=inside
        )
        app.state.fbguard = guard
        return asgi.FBTokenMiddleware(app, guard, policy=None) if "around" in place else app

    return make


def _starlette_door(place: str) -> Callable[[View, Guard], Any]:
    def make(view: View, guard: Guard) -> Any:
        app = Starlette(routes=[WebSocketRoute("/ws", view)])
        if place == "around":
            return asgi.FBTokenMiddleware(app, guard)
        app.add_middleware(asgi.FBTokenMiddleware, guard=guard)
        return app

    return make


def _fastapi(place: str) -> Callable[[View, Guard], Any]:
    def make(view: View, guard: Guard) -> Any:
        app = FastAPI()

        async def live(websocket: WebSocket) -> None:
            await view(websocket)

        app.state.fbguard = guard
        if place == "decorator":
            app.add_api_websocket_route("/ws", require_fb_token(live))
        else:
            app.add_api_websocket_route("/ws", live, dependencies=[Depends(FBToken())])
        return asgi.FBTokenMiddleware(app, guard, policy=None) if place == "around" else app

    return make


PLACES = {
    "plain door": lambda view, guard: asgi.FBTokenMiddleware(_plain(view), guard),
    **{f"starlette {place}": _starlette(place) for place in ("inside", "inside, copy", "around", "state")},
    **{f"starlette {place}": _starlette(place) for place in ("around, copy", "guard=")},
    **{f"starlette door {place}": _starlette_door(place) for place in ("inside", "around")},
    **{f"fastapi {place}": _fastapi(place) for place in ("Depends", "around", "decorator")},
}


def _plain(view: View) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await view(WebSocket(scope, receive, send))

    return app


async def connect(app: Any, token: str = TOKEN, **more: Any) -> tuple[list[dict[str, Any]], Exception | None]:
    """Open a WebSocket; return what the server was told, and what it had to catch."""
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "websocket.disconnect", "code": 1001}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = http_scope("/ws", headers=[("Authorization", f"Bearer {token}")], **more)
    scope |= {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    try:
        await app(scope, receive, send)
    except Exception as error:
        return sent, error
    return sent, None


async def is_looked_up_again(guard: Guard, graph: Any) -> bool:
    graph.calls.clear()
    for token in (TOKEN, OTHER):
        await guard.acheck(token)
    return graph.calls == [TOKEN]


@pytest.fixture(params=PLACES)
def serve(request, guard, graph) -> Any:
    graph.replies[OTHER] = valid(user_id="2002")

    async def known() -> None:
        for token in (TOKEN, OTHER):
            await guard.acheck(token)

    def serve(view: View, check: Callable[[Any], Any]) -> None:
        async def main() -> None:
            await known()
            await check(PLACES[request.param](view, guard))

        asyncio.run(main())

    return serve


def test_before_it_is_accepted(serve, guard, graph):
    async def view(socket: WebSocket) -> None:
        raise over()

    async def check(app: Any) -> None:
        (start, body), error = await connect(app, **DENIAL)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert b"password_changed" in body["body"]
        assert any(name == b"www-authenticate" for name, _ in start["headers"])
        assert error is None
        assert await is_looked_up_again(guard, graph)
        assert await connect(app) == ([REFUSED], None)

    serve(view, check)


def test_while_it_is_open(serve, guard, graph):
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        raise over()

    async def check(app: Any) -> None:
        for more in ({}, DENIAL):
            (_, hello, closed), error = await connect(app, **more)
            assert (hello["text"], closed, error) == ("hello", REFUSED, None)
            assert await is_looked_up_again(guard, graph)

    serve(view, check)


def test_after_it_was_closed(serve, guard, graph):
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(4000)
        raise over()

    async def denied(socket: WebSocket) -> None:
        await socket.close()
        raise over()

    async def check(app: Any) -> None:
        sent, _ = await connect(app, **DENIAL)
        assert [message["type"] for message in sent][-1] == "websocket.close"
        assert len(sent) == (2 if sent[0]["type"] == "websocket.accept" else 1)
        assert sent[-1]["code"] != 1008
        assert await is_looked_up_again(guard, graph)

    serve(view, check)
    serve(denied, check)


def test_what_is_the_applications_own(serve, guard, graph):
    errors = [OAuthException("x", code=100), OAuthException("x", code=190, token_fingerprint="0123456789ab")]

    async def view(socket: WebSocket) -> None:
        await socket.accept()
        raise errors[0]

    async def check(app: Any) -> None:
        for _ in range(2):
            sent, error = await connect(app)
            assert ([message["type"] for message in sent], error) == (["websocket.accept"], errors[0])
            errors.reverse()
        assert not await is_looked_up_again(guard, graph)

    serve(view, check)


@pytest.mark.parametrize("place", ["state", "inside", "around", "inside, copy"])
def test_an_endpoint_of_starlette(guard, graph, place):
    class Endpoint(WebSocketEndpoint):
        encoding = "text"

        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            raise over()

    async def main() -> None:
        await guard.acheck(TOKEN)
        await guard.acheck(OTHER)
        (opened, closed), error = await connect(_starlette(place)(Endpoint, guard), **DENIAL)
        assert (opened["type"], closed, error) == ("websocket.accept", REFUSED, None)
        assert await is_looked_up_again(guard, graph)

    asyncio.run(main())
