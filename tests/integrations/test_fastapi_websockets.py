"""FBToken on WebSocket routes: refused before accept, closed with 1008 after it."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fbguard import Guard, Policy, Requirement, Rule, TokenInfo, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBToken, OptionalFBToken
from fbguard.testing import assert_refused

pytest_plugins = ["fbguard.testing"]
pytestmark = pytest.mark.usefixtures("quiet_asyncio")

PUBLIC = Policy(Rule("/{rest:path}", public=True))
PAGES = "pages_manage_posts"


def _state(app: FastAPI, guard: Guard) -> Any:
    app.state.fbguard = guard
    return app


PLACES: dict[str, Any] = {
    "state": _state,
    "around": lambda app, guard: FBTokenMiddleware(app, guard, policy=None),
    "everything": FBTokenMiddleware,
    "public": lambda app, guard: FBTokenMiddleware(app, guard, policy=PUBLIC),
}


@pytest.fixture(params=PLACES)
def client(request: pytest.FixtureRequest, fb_guard: Guard) -> TestClient:
    app = FastAPI()
    router = APIRouter(dependencies=[Depends(FBToken())])

    @app.websocket("/emailed")
    async def emailed(
        socket: WebSocket, token: Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]
    ) -> None:
        await socket.accept()
        await socket.send_json({"user": token.user_id, "same": current_token() is token})
        await socket.close()

    @router.websocket("/pages/{page}")
    async def page(socket: WebSocket, page: int, token: Annotated[Any, Depends(_ours)]) -> None:
        await socket.accept()
        await socket.send_json({"page": page})
        await socket.close()

    @router.websocket("/asks")
    async def asks(socket: WebSocket) -> None:
        """Look at the token again with every message, for something that the route did not ask."""
        await socket.accept()
        token = socket.headers["authorization"].removeprefix("Bearer ")
        while True:
            scope = await socket.receive_text()
            await fb_guard.acheck(token, Requirement(scopes=[scope]))
            await socket.send_text("yes")

    @app.websocket("/decorated/{page}")
    @require_fb_token(scopes=[PAGES], target="page")
    async def decorated(socket: WebSocket, page: int) -> None:
        await socket.accept()
        await socket.send_json({"user": current_token(required=True).user_id, "page": page})
        await socket.close()

    app.include_router(router)
    return TestClient(PLACES[request.param](app, fb_guard))


_ours = FBToken(scopes=[PAGES], target="page")


def refused(client: TestClient, path: str, headers: dict[str, str], reason: str) -> None:
    with pytest.raises(WebSocketDenialResponse) as denial, client.websocket_connect(path, headers=headers):
        raise AssertionError("it was accepted")
    assert_refused(denial.value, reason)


def test_refused_before_accept(client, fb_token):
    for path in ("/emailed", "/pages/1", "/asks", "/decorated/1"):
        refused(client, path, {}, "missing_token")
        refused(client, path, {"Authorization": "Bearer a|b"}, "malformed_token")
        refused(client, path, fb_token.headers(expires_in=-1), "expired")
    refused(client, "/emailed", fb_token.headers(), "insufficient_scope")
    other = fb_token.headers(scopes=[PAGES], granular_scopes={PAGES: ["2"]})
    refused(client, "/pages/1", other, "insufficient_target")
    refused(client, "/decorated/1", other, "insufficient_target")


def test_accepted(client, fb_token):
    with client.websocket_connect(
        "/emailed", headers=fb_token.headers(user_id="7", scopes=["email"])
    ) as socket:
        assert socket.receive_json() == {"user": "7", "same": True}
    ours = fb_token.headers(user_id="7", scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    with client.websocket_connect("/pages/501", headers=ours) as socket:
        assert socket.receive_json() == {"page": 501}
    with client.websocket_connect("/decorated/501", headers=ours) as socket:
        assert socket.receive_json() == {"user": "7", "page": 501}


def test_closed_with_1008_after_accept(client, fb_token):
    with client.websocket_connect("/asks", headers=fb_token.headers(scopes=["email"])) as socket:
        socket.send_text("email")
        assert socket.receive_text() == "yes"
        socket.send_text("user_posts")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (1008, "insufficient_scope")


def test_a_server_without_the_denial_response(client, fb_token):
    """It says 403 by itself when a socket is closed before it was accepted."""
    import asyncio

    from tests.support import http_scope

    scope = http_scope("/emailed") | {"type": "websocket", "subprotocols": [], "extensions": {}}
    del scope["method"]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(client.app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "missing_token"}]


def test_optional(fb_guard, fb_token):
    app = FastAPI()

    @app.websocket("/feed")
    async def feed(socket: WebSocket, token: TokenInfo | None = Depends(OptionalFBToken())) -> None:  # noqa: B008
        await socket.accept()
        await socket.send_json(token and token.user_id)
        await socket.close()

    client = TestClient(_state(app, fb_guard))
    for headers, user in (({}, None), (fb_token.headers(user_id="7"), "7")):
        with client.websocket_connect("/feed", headers=headers) as socket:
            assert socket.receive_json() == user
    refused(client, "/feed", {"Authorization": "Bearer a|b"}, "malformed_token")


def test_a_browser_sends_its_token_as_a_subprotocol(fb_sandbox, fb_token):
    """Browsers cannot send headers with a WebSocket: `new WebSocket(url, ["bearer", token])`."""
    app = FastAPI()

    @app.websocket("/me")
    async def me(socket: WebSocket, token: TokenInfo = Depends(FBToken())) -> None:  # noqa: B008
        await socket.accept()
        await socket.send_json(token.user_id)
        await socket.close()

    with fb_sandbox.guard(token_from=("header", "websocket-protocol")) as guard:
        client = TestClient(FBTokenMiddleware(app, guard))
        protocols = ["bearer", fb_token(user_id="7")]
        with client.websocket_connect("/me", subprotocols=protocols) as socket:
            assert socket.accepted_subprotocol == "bearer"
            assert socket.receive_json() == "7"
        refused(client, "/me", {}, "missing_token")
