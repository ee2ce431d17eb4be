"""``@require_fb_token`` on the views of Starlette: every kind of view, wherever the guard comes from."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from fbguard import Guard, Policy, Requirement, Rule, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.core.carrier import carrier_of_request
from fbguard.testing import assert_allowed, assert_refused
from tests.support import call_asgi, http_scope

pytest_plugins = ["fbguard.testing"]
pytestmark = pytest.mark.usefixtures("quiet_asyncio", "nothing_loud")

PAGES = "pages_manage_posts"
PUBLIC = Policy(Rule("/{rest:path}", public=True))


@pytest.fixture
def nothing_loud(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    # `records` would be those of the teardown.
    loud = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in loud] == []


class Logging(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers["X-Logged"] = str(response.status_code)
        return response


class Copying:
    """Middleware that gives the app a scope of its own, which ASGI allows."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


def _state(routes: list[Any], guard: Guard) -> Any:
    app = Starlette(routes=routes)
    app.state.fbguard = guard
    return app


def _stack(*middleware: Any) -> Any:
    return lambda routes, guard: Starlette(
        routes=routes,
        middleware=[
            Middleware(one, guard, policy=None) if one is FBTokenMiddleware else Middleware(one)
            for one in middleware
        ],
    )


PLACES: dict[str, Callable[[list[Any], Guard], Any]] = {
    "state": _state,
    "inside": _stack(FBTokenMiddleware),
    "inside, base": _stack(FBTokenMiddleware, Logging),
    "base, inside": _stack(Logging, FBTokenMiddleware),
    "inside, copy": _stack(FBTokenMiddleware, Copying),
    "around": lambda routes, guard: FBTokenMiddleware(Starlette(routes=routes), guard, policy=None),
    "around, copy": lambda routes, guard: FBTokenMiddleware(
        _stack(Copying)(routes, guard), guard, policy=None
    ),
    "around something": lambda routes, guard: FBTokenMiddleware(
        Copying(Starlette(routes=routes)), guard, policy=None
    ),
    "around, public": lambda routes, guard: FBTokenMiddleware(Starlette(routes=routes), guard, policy=PUBLIC),
    "around, everything": lambda routes, guard: FBTokenMiddleware(Starlette(routes=routes), guard),
}  # fmt: skip


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, fb_guard: Guard) -> Callable[..., TestClient]:
    """Give ``place(*routes) -> client``: the guard in the app's state, or a door somewhere."""
    return lambda *routes: TestClient(PLACES[request.param](list(routes), fb_guard))


# -- kinds of views ------------------------------------------------------------------------------------


def _facts(request: Request) -> JSONResponse:
    info = current_token(required=True)
    return JSONResponse({"user": info.user_id, "same": request.state.fb_token is info})


@require_fb_token(scopes=["email"])
async def async_view(request: Request) -> Response:
    """Say who it is."""
    return _facts(request)


@require_fb_token(scopes=["email"])
def sync_view(request: Request) -> Response:
    return _facts(request)


async def _two(word: str, request: Request) -> Response:
    return _facts(request)


class Kinds:
    async def __call__(self, request: Request) -> Response:
        return _facts(request)

    @require_fb_token(scopes=["email"])
    async def method(self, request: Request) -> Response:
        return _facts(request)

    @staticmethod
    @require_fb_token(scopes=["email"])
    async def static(request: Request) -> Response:
        return _facts(request)


@require_fb_token(scopes=["email"])
class Whole(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return _facts(request)


class SyncWhole(HTTPEndpoint):
    def get(self, request: Request) -> Response:
        return _facts(request)


class Half(HTTPEndpoint):
    @require_fb_token(scopes=["email"])
    async def get(self, request: Request) -> Response:
        return _facts(request)

    async def post(self, request: Request) -> Response:
        return PlainTextResponse("posted")


emailed = require_fb_token(scopes=["email"])
VIEWS = {
    "async": async_view,
    "sync": sync_view,
    "partial": emailed(functools.partial(_two, "word")),
    "callable": emailed(Kinds()),
    "method": Kinds().method,
    "static": Kinds.static,
    "class": Whole,
    "sync class": emailed(SyncWhole),
    "method of a class": Half,
}


@pytest.mark.parametrize("kind", VIEWS)
def test_kinds_of_views(place, fb_token, kind):
    client = place(Route("/x", VIEWS[kind]))
    assert_refused(client.get("/x"), "missing_token", status=401)
    assert_refused(client.get("/x", headers=fb_token.headers()), "insufficient_scope", scopes=["email"])
    answer = client.get("/x", headers=fb_token.headers(user_id="7", scopes=["email"]))
    assert_allowed(answer)
    assert answer.json() == {"user": "7", "same": True}
    if kind != "method of a class":
        assert client.head("/x").status_code in {401, 405}


def test_a_decorated_method_leaves_the_others_alone(fb_guard):
    client = TestClient(_state([Route("/x", Half)], fb_guard))
    assert client.post("/x").text == "posted"
    assert_refused(client.get("/x"), "missing_token")


def test_name_signature_and_class_stay():
    assert (async_view.__name__, async_view.__doc__) == ("async_view", "Say who it is.")
    assert list(inspect.signature(async_view).parameters) == ["request"]
    assert inspect.iscoroutinefunction(async_view)
    assert not inspect.iscoroutinefunction(sync_view)
    assert inspect.isclass(Whole)
    assert issubclass(Whole, HTTPEndpoint)
    assert VIEWS["sync class"] is SyncWhole


def test_a_class_without_dispatch_is_no_view():
    with pytest.raises(TypeError, match="no class-based view"):
        require_fb_token(int)
    with pytest.raises(TypeError, match="decorates functions"):
        require_fb_token("view")  # type: ignore[call-overload]


def test_decorating_a_class_leaves_its_base_alone(fb_guard):
    class Base(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("open")

    @require_fb_token
    class Guarded(Base):
        pass

    client = TestClient(_state([Route("/base", Base), Route("/guarded", Guarded)], fb_guard))
    assert client.get("/base").text == "open"
    assert_refused(client.get("/guarded"), "missing_token")


# -- stacking ------------------------------------------------------------------------------------------


def test_every_requirement_holds(fb_guard, fb_token, fb_sandbox):
    """The rule of the path, and two decorators, from outside in."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("in")

    view = require_fb_token(scopes=[PAGES])(require_fb_token(scopes=["user_posts"])(answer))
    policy = Policy(Rule("/x", scopes=["email"]))
    app = Starlette(routes=[Route("/x", view)])
    client = TestClient(FBTokenMiddleware(app, fb_guard, policy=policy))
    granted: list[str] = []
    for missing in ("email", PAGES, "user_posts"):
        headers = fb_token.headers(scopes=[*granted, "public_profile"])
        assert_refused(client.get("/x", headers=headers), "insufficient_scope", scopes=[missing])
        granted.append(missing)
    assert client.get("/x", headers=fb_token.headers(scopes=granted)).text == "in"
    assert len(fb_sandbox.calls) == 4


@pytest.mark.parametrize(
    ("policy", "loose"),
    [
        (Policy(), {"optional": True}),
        (Policy(), {"token_types": ["USER", "PAGE"]}),
        (Policy(default=Requirement(scopes=["email"])), {"optional": True, "scopes": ["email"]}),
    ],
)
@pytest.mark.parametrize("place", ["inside", "around"])
def test_a_decorator_that_could_only_loosen(fb_guard, fb_token, policy, loose, place):
    async def view(request: Request) -> Response:
        raise AssertionError("it ran")

    routes = [Route("/x", require_fb_token(**loose)(view))]
    if place == "inside":
        app: Any = Starlette(
            routes=routes, middleware=[Middleware(FBTokenMiddleware, fb_guard, policy=policy)]
        )
    else:
        app = FBTokenMiddleware(Starlette(routes=routes), fb_guard, policy=policy)
    with pytest.raises(RuntimeError, match="could only loosen"):
        TestClient(app).get("/x", headers=fb_token.headers(scopes=["email"]))


def test_targets_are_routed_parameters(place, fb_token):
    view = require_fb_token(scopes=[PAGES], target="page")(_two_words)
    client = place(
        Route("/pages/{page}", view),
        Mount("/number", routes=[Route("/{page:int}", view)]),
        Mount("/of/{page}", routes=[Route("/posts", view)]),
    )
    ours = fb_token.headers(scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    for path in ("/pages/501", "/number/501", "/of/501/posts"):
        assert_allowed(client.get(path, headers=ours))
    for path in ("/pages/777", "/number/777", "/of/777/posts"):
        assert_refused(client.get(path, headers=ours), "insufficient_target")


async def _two_words(request: Request) -> Response:
    return PlainTextResponse("in")


# -- where the guard comes from ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["guard", "callable"])
def test_a_guard_of_the_decorator(fb_guard, fb_token, kind):
    given = fb_guard if kind == "guard" else lambda: fb_guard
    app = Starlette(routes=[Route("/x", require_fb_token(guard=given)(_two_words))])
    client = TestClient(app)
    assert_refused(client.get("/x"), "missing_token")
    assert_allowed(client.get("/x", headers=fb_token.headers()))


def test_without_a_guard_the_error_says_what_to_do():
    app = Starlette(routes=[Route("/x", require_fb_token(_two_words))])
    with pytest.raises(RuntimeError, match=r"app\.state\.fbguard in Starlette"):
        TestClient(app).get("/x")


def test_without_a_request_the_error_says_what_to_do():
    with pytest.raises(RuntimeError, match="found no request"):
        require_fb_token(lambda: None)()


@pytest.mark.parametrize("door", [False, True], ids=["no door", "public"])
def test_the_required_token_names_the_cause(fb_guard, door):
    async def view(request: Request) -> Response:
        return PlainTextResponse(current_token(required=True).user_id or "")

    app = Starlette(routes=[Route("/x", view)])
    client = TestClient(FBTokenMiddleware(app, fb_guard, policy=PUBLIC) if door else app)
    with pytest.raises(RuntimeError, match="a public route" if door else "no fbguard door"):
        client.get("/x")


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_afterwards(fb_guard, fb_token, place):
    @require_fb_token
    async def broken(request: Request) -> Response:
        raise LookupError

    app = PLACES[place]([Route("/x", async_view), Route("/broken", broken)], fb_guard)

    async def run() -> list[object]:
        left = []
        for headers in (fb_token.headers(scopes=["email"]), fb_token.headers(), {}):
            await call_asgi(app, http_scope("/x", headers=headers.items()))
            left.append(carrier_of_request.get())
        with pytest.raises(LookupError):
            await call_asgi(app, http_scope("/broken", headers=fb_token.headers().items()))
        left.append(carrier_of_request.get())
        return left

    assert asyncio.run(run()) == [None] * 4


# -- answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["inside, base", "base, inside"])
def test_refusals_pass_other_middleware(fb_guard, place):
    """They are ordinary answers for a BaseHTTPMiddleware."""
    client = TestClient(PLACES[place]([Route("/x", async_view)], fb_guard))
    assert client.get("/x").headers["x-logged"] == "401"


def test_a_view_that_lets_a_refusal_escape(place, fb_guard, fb_token):
    async def view(request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        await fb_guard.acheck(token, Requirement(scopes=["user_posts"]))
        raise AssertionError("it passed")

    client = place(Route("/x", require_fb_token(view)))
    assert_refused(client.get("/x", headers=fb_token.headers()), "insufficient_scope")


def test_streams_and_background_tasks_know_their_token(place, fb_token):
    seen: list[str | None] = []

    def note() -> None:
        seen.append(current_token(required=True).user_id)

    @require_fb_token
    async def in_async(request: Request) -> Response:
        async def body() -> Any:
            for _ in range(2):
                yield (current_token(required=True).user_id or "").encode()

        return StreamingResponse(body(), background=BackgroundTask(note))

    @require_fb_token
    def in_sync(request: Request) -> Response:
        return StreamingResponse(current_token(required=True).user_id or "" for _ in range(2))

    @require_fb_token
    async def plain(request: Request) -> Response:
        return PlainTextResponse("77", background=BackgroundTasks([BackgroundTask(note)]))

    client = place(Route("/async", in_async), Route("/sync", in_sync), Route("/plain", plain))
    for path in ("/async", "/sync", "/plain"):
        assert client.get(path, headers=fb_token.headers(user_id="7")).text == "77"
    assert seen == ["7", "7"]


# -- WebSockets ----------------------------------------------------------------------------------------


@require_fb_token(scopes=["email"])
async def socket_view(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": current_token(required=True).user_id})
    await socket.close()


@require_fb_token(scopes=["email"])
class SocketClass(WebSocketEndpoint):
    encoding = "text"

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"user": current_token(required=True).user_id})
        await websocket.close()


@pytest.mark.parametrize("view", [socket_view, SocketClass])
def test_sockets(place, fb_token, view):
    client = place(WebSocketRoute("/ws", view))
    for headers, reason in (
        ({}, "missing_token"),
        ({"Authorization": "Bearer a|b"}, "malformed_token"),
        (fb_token.headers(), "insufficient_scope"),
    ):
        with (
            pytest.raises(WebSocketDenialResponse) as denial,
            client.websocket_connect("/ws", headers=headers),
        ):
            raise AssertionError("it was accepted")
        assert_refused(denial.value, reason)
    with client.websocket_connect("/ws", headers=fb_token.headers(user_id="7", scopes=["email"])) as socket:
        assert socket.receive_json() == {"user": "7"}


def test_sockets_are_closed_with_1008_after_accept(place, fb_guard, fb_token):
    async def check(socket: WebSocket, scope: str) -> None:
        token = socket.headers["authorization"].removeprefix("Bearer ")
        await fb_guard.acheck(token, Requirement(scopes=[scope]))
        await socket.send_text("yes")

    @require_fb_token
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await check(socket, await socket.receive_text())

    @require_fb_token
    class Endpoint(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket: WebSocket, data: str) -> None:
            await check(websocket, data)

    client = place(WebSocketRoute("/view", view), WebSocketRoute("/class", Endpoint))
    for path in ("/view", "/class"):
        with client.websocket_connect(path, headers=fb_token.headers(scopes=["email"])) as socket:
            socket.send_text("email")
            assert socket.receive_text() == "yes"
            socket.send_text("user_posts")
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
        assert (closed.value.code, closed.value.reason) == (1008, "insufficient_scope"), path
