# ruff: noqa: N802 - named after the rows of the threat table
"""Rows of the threat table that are about frameworks, in Starlette and FastAPI; and CORS (G09)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from fbguard import Guard, TokenInfo, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBToken
from fbguard.testing import assert_allowed, assert_refused

pytest_plugins = ["fbguard.testing"]

ORIGIN = "https://app.example"
CORS = {
    "allow_origins": [ORIGIN],
    "allow_methods": ["GET", "PUT"],
    "allow_headers": ["Authorization"],
    "expose_headers": ["WWW-Authenticate", "Retry-After"],
}


def _answer(request: Request) -> Response:
    info = current_token(required=True)
    spoofable = {name: value for name, value in request.scope.items() if name.startswith("fbguard.user")}
    return JSONResponse({"user": info.user_id, "more": list(spoofable)})


@require_fb_token
async def me(request: Request) -> Response:
    return _answer(request)


@require_fb_token
async def socket_me(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(current_token(required=True).user_id)
    await websocket.close()


def _starlette(middleware: list[Any]) -> Starlette:
    routes = [Route("/me", me, methods=["GET", "PUT"]), WebSocketRoute("/ws", socket_me)]
    return Starlette(routes=routes, middleware=middleware)


def _fastapi(middleware: list[Any]) -> FastAPI:
    app = FastAPI(middleware=middleware)

    @app.api_route("/me", methods=["GET", "PUT"])
    async def view(request: Request, token: Annotated[TokenInfo, Depends(FBToken())]) -> Any:
        return _answer(request)

    @app.websocket("/ws")
    async def socket_view(websocket: WebSocket, token: Annotated[TokenInfo, Depends(FBToken())]) -> None:
        await websocket.accept()
        await websocket.send_json(token.user_id)
        await websocket.close()

    return app


MAKERS = {"starlette": _starlette, "fastapi": _fastapi}
Make = Callable[..., Any]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    """Give ``make(middleware=[]) -> app``."""
    return lambda middleware=(): MAKERS[request.param](list(middleware))


@pytest.fixture(params=["state", "inside", "around", "everything"])
def client(request: pytest.FixtureRequest, make: Make, fb_guard: Guard) -> TestClient:
    if request.param == "inside":
        return TestClient(make([Middleware(FBTokenMiddleware, guard=fb_guard, policy=None)]))
    app = make()
    if request.param == "around":
        return TestClient(FBTokenMiddleware(app, fb_guard, policy=None))
    if request.param == "everything":
        return TestClient(FBTokenMiddleware(app, fb_guard))
    app.state.fbguard = fb_guard
    return TestClient(app)


def test_H13_websocket(client, fb_token):
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        with (
            pytest.raises(WebSocketDenialResponse) as denial,
            client.websocket_connect("/ws", headers=headers),
        ):
            raise AssertionError("it was accepted")
        assert_refused(denial.value, "missing_token")
    with client.websocket_connect("/ws", headers=fb_token.headers(user_id="7")) as socket:
        assert socket.receive_json() == "7"


def test_H16_duplicate_authorization(client, fb_sandbox, fb_token):
    """As HTTP/2 servers hand them on: two header fields, in lower case."""
    good = fb_token.headers()["Authorization"]
    for values in (
        [good, good],
        [good, "Bearer other"],
        [good, ""],
        ["Basic eDp5", good],
        [f"{good}, {good}"],
    ):
        answer = client.get("/me", headers=[("authorization", value) for value in values])
        assert_refused(answer, "invalid_request", status=400)
    assert fb_sandbox.calls == ()
    assert_allowed(client.get("/me", headers=[("authorization", good)]))


@pytest.mark.parametrize("spelling", ["authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION"])
def test_H16_upper_case(client, fb_token, spelling):
    good = fb_token.headers(user_id="7")["Authorization"]
    for value in (good, good.replace("Bearer", "BEARER"), good.replace("Bearer", "bearer")):
        assert client.get("/me", headers={spelling: value}).json()["user"] == "7"


def _wrong_order_fastapi(guard: Guard) -> Any:
    app = FastAPI()
    app.state.fbguard = guard

    @require_fb_token
    @app.get("/me")
    async def view(request: Request) -> dict[str, str]:
        return {}

    return app


def _wrong_order_starlette(guard: Guard) -> Any:
    async def view(request: Request) -> Response:
        return JSONResponse({})

    app = Starlette(routes=[Route("/me", view)])
    app.state.fbguard = guard
    require_fb_token(view)  # the bare view is registered
    return app


@pytest.mark.parametrize("wrong", [_wrong_order_fastapi, _wrong_order_starlette])
def test_H17_decorator_order(fb_guard, wrong):
    """A guard above the route decorator guards nothing: the assertion finds it, a door closes it."""
    with pytest.raises(AssertionError, match="expected a refusal"):
        assert_refused(TestClient(wrong(fb_guard)).get("/me"), "missing_token")
    assert_refused(TestClient(FBTokenMiddleware(wrong(fb_guard), fb_guard)).get("/me"), "missing_token")


class Kinds:
    async def method(self, request: Request) -> Response:
        return _answer(request)

    @staticmethod
    async def static(request: Request) -> Response:
        return _answer(request)

    @classmethod
    def of_class(cls, request: Request) -> Response:
        return _answer(request)

    def __call__(self, request: Request) -> Response:
        return _answer(request)


async def _async(request: Request) -> Response:
    return _answer(request)


async def _streaming(request: Request) -> Response:
    async def body() -> Any:
        yield b'{"user": "%s"}' % (current_token(required=True).user_id or "").encode()

    return StreamingResponse(body())


async def _partial(word: str, request: Request) -> Response:
    return _answer(request)


KINDS = {
    "async": _async,
    "sync": lambda request: _answer(request),  # noqa: PLW0108 - a lambda is a kind of its own
    "streaming": _streaming,
    "method": Kinds().method,
    "static": Kinds.static,
    "class method": Kinds.of_class,
    "instance": Kinds(),
    "partial": functools.partial(_partial, "word"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_H18_view_kinds(fb_guard, fb_token, kind, framework):
    view = require_fb_token(scopes=["email"])(KINDS[kind])
    if framework == "starlette":
        app: Any = Starlette(routes=[Route("/x", view)])
    else:
        app = FastAPI()
        app.get("/x", response_model=None)(_with_request(view))
    app.state.fbguard = fb_guard
    client = TestClient(app)
    assert_refused(client.get("/x"), "missing_token")
    assert_refused(client.get("/x", headers=fb_token.headers()), "insufficient_scope")
    assert client.get("/x", headers=fb_token.headers(user_id="7", scopes=["email"])).json()["user"] == "7"


def _with_request(view: Any) -> Any:
    """Let FastAPI see the parameter's type of a lambda too."""
    if getattr(view, "__name__", "") == "<lambda>":
        view.__signature__ = __import__("inspect").signature(_answer)
    return view


def test_H18_classes(fb_guard, fb_token):
    @require_fb_token(scopes=["email"])
    class View(HTTPEndpoint):
        """A view."""

        async def get(self, request: Request) -> Response:
            return _answer(request)

        def put(self, request: Request) -> Response:
            return _answer(request)

    assert (View.__name__, View.__doc__, issubclass(View, HTTPEndpoint)) == ("View", "A view.", True)
    app = Starlette(routes=[Route("/x", View)])
    app.state.fbguard = fb_guard
    client = TestClient(app)
    for verb in ("GET", "PUT", "HEAD", "DELETE"):
        assert client.request(verb, "/x").status_code == 401
    for verb in ("GET", "PUT"):
        assert_allowed(client.request(verb, "/x", headers=fb_token.headers(scopes=["email"])))


SPOOFS = [
    f"{prefix}{name}"
    for name in ("FB-User-Id", "fb_user_id", "fb_token", "fbguard.token", "fbguard.guard", "Remote-User")
    for prefix in ("", "X-")
]


def test_I01_spoofed_identity(client, fb_token):
    ours = fb_token.headers(user_id="7")
    for name in SPOOFS:
        spoof = {name: "9", "Cookie": f"{name}=9"}
        assert_refused(client.get(f"/me?{name}=9", headers=spoof), "missing_token")
        assert client.get(f"/me?{name}=9", headers=ours | spoof).json() == {"user": "7", "more": []}, name


def test_I04_leak_between_requests(client, fb_token):
    """Many users on many threads, each thread with one client after the other."""
    users = {str(number): fb_token.headers(user_id=str(number)) for number in range(1, 21)}
    start = threading.Barrier(8)

    def ask(offset: int) -> list[tuple[str, str | None]]:
        start.wait(10)
        own = list(users)[offset:] + list(users)[:offset]
        got = [(user, client.get("/me", headers=users[user]).json()["user"]) for user in own]
        return [*got, *(("none", client.get("/me").json().get("user", "none")) for _ in range(2))]

    with ThreadPoolExecutor(8) as pool:
        pairs = [pair for found in pool.map(ask, range(8)) for pair in found]
    assert len(pairs) == 8 * 22
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


# -- G09: a browser's request from another origin ------------------------------------------------------


def browser_reads(answer: Any) -> dict[str, str] | None:
    """Return the headers that a script of ORIGIN may read, None if it may not even read the answer."""
    if answer.headers.get("access-control-allow-origin") != ORIGIN:
        return None
    safe = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
    exposed = {
        name.strip().lower() for name in answer.headers.get("access-control-expose-headers", "").split(",")
    }
    return {name: value for name, value in answer.headers.items() if name in safe | exposed}


def _with_cors(make: Make, guard: Guard, place: str) -> Any:
    cors = Middleware(CORSMiddleware, **CORS)
    if place == "inside":
        return make([cors, Middleware(FBTokenMiddleware, guard=guard)])
    if place == "around":
        return CORSMiddleware(FBTokenMiddleware(make(), guard), **CORS)
    app = make([cors])
    app.state.fbguard = guard
    return app


@pytest.mark.parametrize("place", ["inside", "around", "state"])
def test_G09_a_browser_can_read_the_refusal(make, fb_guard, fb_token, fb_sandbox, place):
    client = TestClient(_with_cors(make, fb_guard, place))
    sent = {"Origin": ORIGIN}
    answer = client.get("/me", headers=sent | fb_token.headers(expires_in=-1))
    assert_refused(answer, "expired", action="login")
    readable = browser_reads(answer)
    assert readable is not None
    assert 'relogin="login"' in readable["www-authenticate"]
    assert {"Origin", "Authorization"} <= {name.strip() for name in answer.headers["vary"].split(",")}
    fb_sandbox.fail(500)
    unknown = client.get("/me", headers=sent | fb_token.headers())
    assert_refused(unknown, "unavailable")
    assert int((browser_reads(unknown) or {})["retry-after"]) >= 1
    fb_sandbox.recover()
    assert browser_reads(client.get("/me", headers=sent | fb_token.headers())) is not None


@pytest.mark.parametrize("place", ["inside", "around", "state"])
def test_G09_the_preflight_is_answered(make, fb_guard, fb_sandbox, place):
    client = TestClient(_with_cors(make, fb_guard, place))
    asks = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = client.options("/me", headers=asks)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert fb_sandbox.calls == ()
    foreign = client.options("/me", headers=asks | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_G09_the_wrong_order_hides_the_refusal(make, fb_guard, fb_token):
    """A guard outside CORSMiddleware answers preflights, but no script can read its 401."""
    door = Middleware(FBTokenMiddleware, guard=fb_guard)
    client = TestClient(make([door, Middleware(CORSMiddleware, **CORS)]))
    answer = client.get("/me", headers={"Origin": ORIGIN} | fb_token.headers(expires_in=-1))
    assert_refused(answer, "expired")
    assert browser_reads(answer) is None
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    assert client.options("/me", headers=preflight).status_code == 204


def test_G09_credentials_never_go_with_a_star(fb_guard, fb_token):
    cors = Middleware(CORSMiddleware, allow_origins=["*"])
    client = TestClient(_starlette([cors, Middleware(FBTokenMiddleware, guard=fb_guard)]))
    answer = client.get("/me", headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
