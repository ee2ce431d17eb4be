"""FBAuthBackend: Starlette's own AuthenticationMiddleware, ``@requires`` and ``request.user``."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthenticationError, requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from fbguard import Guard, Policy, Requirement, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.starlette import FBAuthBackend
from fbguard.testing import assert_allowed, assert_refused

pytest_plugins = ["fbguard.testing"]
pytestmark = pytest.mark.usefixtures("quiet_asyncio")


async def who(request: Request) -> JSONResponse:
    user = request.user
    return JSONResponse({
        "known": user.is_authenticated,
        "name": user.display_name,
        "user": getattr(user, "token", None) and user.token.user_id,
        "scopes": sorted(request.auth.scopes),
    })  # fmt: skip


@requires("authenticated")
async def known(request: Request) -> Response:
    return JSONResponse(request.user.identity)


@requires(["authenticated", "email"])
def emailed(request: Request) -> Response:
    return JSONResponse(request.user.identity)


@require_fb_token(scopes=["email"])
async def decorated(request: Request) -> Response:
    return JSONResponse(request.state.fb_token.user_id)


@requires("email")
async def socket_view(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(websocket.user.identity)
    await websocket.close()


ROUTES = [
    Route("/who", who),
    Route("/known", known),
    Route("/emailed", emailed),
    Route("/decorated", decorated),
    WebSocketRoute("/ws", socket_view),
]


def _client(guard: Guard, *outer: Middleware, **options: Any) -> TestClient:
    backend = FBAuthBackend(guard, **options)
    inner = Middleware(AuthenticationMiddleware, backend=backend, on_error=FBAuthBackend.on_error)
    return TestClient(Starlette(routes=ROUTES, middleware=[*outer, inner]))


@pytest.fixture
def client(fb_guard: Guard) -> TestClient:
    return _client(fb_guard)


def test_a_person(client, fb_token):
    headers = fb_token.headers(user_id="7", scopes=["email", "public_profile"])
    assert client.get("/who", headers=headers).json() == {
        "known": True,
        "name": "7",
        "user": "7",
        "scopes": ["authenticated", "email", "public_profile"],
    }
    assert client.get("/known", headers=headers).json() == "7"
    assert client.get("/emailed", headers=headers).json() == "7"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eDp5"}], ids=["nothing", "basic"])
def test_nobody(client, headers):
    assert client.get("/who", headers=headers).json() == {
        "known": False,
        "name": "",
        "user": None,
        "scopes": [],
    }
    assert client.get("/known", headers=headers).status_code == 403  # Starlette's own


def test_a_granted_scope_is_needed(client, fb_token):
    assert client.get("/emailed", headers=fb_token.headers()).status_code == 403


def test_bad_tokens_are_refused_with_challenge_and_hint(client, fb_token, fb_sandbox):
    for path in ("/who", "/known"):
        answer = client.get(path, headers=fb_token.headers(expires_in=-1))
        assert_refused(answer, "expired", status=401, action="login")
        assert 'relogin="login"' in answer.headers["www-authenticate"]
    assert_refused(client.get("/who", headers={"Authorization": "Bearer a|b"}), "malformed_token")
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert_refused(client.get("/who", headers=two), "invalid_request", status=400)
    indonesian = fb_token.headers(expires_in=-1) | {"Accept-Language": "id"}
    assert client.get("/who", headers=indonesian).headers["content-language"] == "id"
    fb_sandbox.fail(500)
    assert_refused(client.get("/who", headers=fb_token.headers()), "unavailable", status=503)


def test_a_requirement_of_the_backend(fb_guard, fb_token):
    client = _client(fb_guard, requirement=Requirement(scopes=["email"]))
    assert_refused(client.get("/who"), "missing_token")
    assert_refused(client.get("/who", headers=fb_token.headers()), "insufficient_scope")
    assert_allowed(client.get("/who", headers=fb_token.headers(scopes=["email"])))


def test_the_decorator_uses_what_the_backend_found(client, fb_token, fb_sandbox):
    assert_refused(client.get("/decorated"), "missing_token")
    assert_refused(client.get("/decorated", headers=fb_token.headers()), "insufficient_scope")
    headers = fb_token.headers(user_id="7", scopes=["email"])
    assert client.get("/decorated", headers=headers).json() == "7"
    assert len(fb_sandbox.calls) == 2


def test_under_a_door_both_hold(fb_guard, fb_token, fb_sandbox):
    door = Middleware(FBTokenMiddleware, guard=fb_guard, policy=Policy(default=Requirement(scopes=["email"])))
    client = _client(fb_guard, door)
    assert_refused(client.get("/who"), "missing_token")
    assert_refused(client.get("/who", headers=fb_token.headers()), "insufficient_scope")
    assert client.get("/who", headers=fb_token.headers(user_id="7", scopes=["email"])).json()["user"] == "7"
    assert len(fb_sandbox.calls) == 2


def test_a_decorator_below_door_and_backend_can_still_only_tighten(fb_guard, fb_token):
    @require_fb_token(optional=True)
    async def loose(request: Request) -> Response:
        raise AssertionError("it ran")

    backend = Middleware(
        AuthenticationMiddleware, backend=FBAuthBackend(fb_guard), on_error=FBAuthBackend.on_error
    )
    app = Starlette(
        routes=[Route("/x", loose)], middleware=[Middleware(FBTokenMiddleware, guard=fb_guard), backend]
    )
    with pytest.raises(RuntimeError, match="could only loosen"):
        TestClient(app).get("/x", headers=fb_token.headers())


def test_sockets(client, fb_token):
    with client.websocket_connect("/ws", headers=fb_token.headers(user_id="7", scopes=["email"])) as socket:
        assert socket.receive_json() == "7"
    for headers in ({"Authorization": "Bearer a|b"}, fb_token.headers(expires_in=-1), fb_token.headers(), {}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=headers):
            raise AssertionError("it was accepted")


def test_errors_of_other_backends_are_not_ours():
    error = AuthenticationError("other")
    with pytest.raises(AuthenticationError, match="other"):
        FBAuthBackend.on_error(HTTPConnection({"type": "http", "headers": []}), error)


def test_a_guard_is_needed():
    with pytest.raises(TypeError, match="guard must be a Guard"):
        FBAuthBackend("guard")  # type: ignore[arg-type]


def test_without_on_error_a_bad_token_is_still_refused(fb_guard, fb_token):
    """By Starlette's own answer, which has no challenge: the docs say on_error."""
    middleware = [Middleware(AuthenticationMiddleware, backend=FBAuthBackend(fb_guard))]
    client = TestClient(Starlette(routes=ROUTES, middleware=middleware))
    answer = client.get("/who", headers=fb_token.headers(expires_in=-1))
    assert (answer.status_code, answer.text[:11]) == (400, "401 expired")
