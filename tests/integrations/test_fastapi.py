"""``Depends(FBToken(...))``: on routes, routers, apps and sub-apps, with a door and without any."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import anyio.from_thread
import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.middleware import Middleware

from fbguard import (
    Guard,
    OAuthException,
    Policy,
    Requirement,
    Rule,
    TokenInfo,
    current_token,
    require_fb_token,
)
from fbguard.asgi import FBTokenMiddleware
from fbguard.core.carrier import carrier_of_request
from fbguard.integrations.fastapi import FBRoute, FBToken, OptionalFBToken
from fbguard.sandbox import Sandbox
from fbguard.testing import assert_allowed, assert_refused
from tests.support import call_asgi, http_scope

pytest_plugins = ["fbguard.testing"]
pytestmark = pytest.mark.usefixtures("quiet_asyncio", "nothing_loud")

PAGES = "pages_manage_posts"
PUBLIC = Policy(Rule("/{rest:path}", public=True))
AnyUser = Annotated[TokenInfo, Depends(FBToken())]
Emailed = Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]
Maybe = Annotated[TokenInfo | None, Depends(OptionalFBToken())]


@pytest.fixture
def nothing_loud(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _nothing() -> dict[str, Any]:
    return {}


def _state(app: FastAPI, guard: Guard) -> Any:
    app.state.fbguard = guard
    return app


def _inside(app: FastAPI, guard: Guard, policy: Policy | None = None) -> Any:
    app.add_middleware(FBTokenMiddleware, guard=guard, policy=policy)
    return app


def _around(app: FastAPI, guard: Guard, policy: Policy | None = None) -> Any:
    return FBTokenMiddleware(app, guard, policy=policy)


PLACES: dict[str, Callable[[FastAPI, Guard], Any]] = {
    "state": _state,
    "inside": _inside,
    "around": _around,
    "inside, everything": lambda app, guard: _inside(app, guard, Policy()),
    "around, everything": lambda app, guard: _around(app, guard, Policy()),
    "around, public": lambda app, guard: _around(app, guard, PUBLIC),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, fb_guard: Guard) -> Callable[[FastAPI], TestClient]:
    """Give ``place(app) -> client``: the guard in the app's state, or a door somewhere."""
    return lambda app: TestClient(PLACES[request.param](app, fb_guard))


@pytest.fixture
def stated(fb_guard: Guard) -> Callable[[FastAPI], TestClient]:
    return lambda app: TestClient(_state(app, fb_guard))


# -- on routes, routers, the app -----------------------------------------------------------------------


def _app_with_views() -> FastAPI:
    app = FastAPI()

    @app.get("/async")
    async def in_async(token: Emailed) -> dict[str, Any]:
        return {"user": token.user_id, "same": current_token() is token}

    @app.get("/sync")
    def in_sync(token: Emailed, request: Request) -> dict[str, Any]:
        same = current_token(required=True) is token and request.state.fb_token is token
        return {"user": token.user_id, "same": same}

    return app


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_a_route(place, fb_token, path):
    client = place(_app_with_views())
    assert_refused(client.get(path), "missing_token", status=401, action="login")
    assert_refused(client.get(path, headers={"Authorization": "Bearer a|b"}), "malformed_token")
    assert_refused(
        client.get(path, headers=fb_token.headers()),
        "insufficient_scope",
        status=403,
        action="login",
        scopes=["email"],
    )
    answer = client.get(path, headers=fb_token.headers(user_id="42", scopes=["email"]))
    assert_allowed(answer)
    assert answer.json() == {"user": "42", "same": True}


def test_every_kind_of_refusal(place, fb_sandbox, fb_token):
    client = place(_app_with_views())
    token = fb_token(user_id="42", scopes=["email"])
    for happens, reason, status in (
        (lambda: fb_sandbox.fail(500), "unavailable", 503),
        (fb_sandbox.recover, None, 200),
        (lambda: fb_sandbox.clock.advance(3601), "expired", 401),
    ):
        happens()
        answer = client.get("/async", headers=fb_sandbox.bearer(token))
        if reason is None:
            assert_allowed(answer)
        else:
            assert_refused(answer, reason, status=status)


@pytest.mark.parametrize("where", ["router", "include", "app", "nested"])
def test_dependencies_of_many_routes(place, fb_token, where):
    rule = [Depends(FBToken(scopes=["email"]))]
    app = FastAPI(dependencies=rule if where == "app" else [])
    router = APIRouter(prefix="/api", dependencies=rule if where == "router" else [])

    @router.get("/me")
    async def me() -> dict[str, Any]:
        return {"user": current_token(required=True).user_id}

    if where == "nested":
        outer = APIRouter(dependencies=rule)
        outer.include_router(router)
        app.include_router(outer)
    else:
        app.include_router(router, dependencies=rule if where == "include" else [])
    client = place(app)
    assert_refused(client.get("/api/me"), "missing_token")
    assert_refused(client.get("/api/me", headers=fb_token.headers()), "insufficient_scope")
    answer = client.get("/api/me", headers=fb_token.headers(user_id="7", scopes=["email"]))
    assert (answer.status_code, answer.json()) == (200, {"user": "7"})


def test_every_requirement_on_the_way_holds(place, fb_sandbox, fb_token):
    app = FastAPI(dependencies=[Depends(FBToken())])
    router = APIRouter(dependencies=[Depends(FBToken(scopes=["email"]))])

    @router.get("/x", dependencies=[Depends(FBToken(scopes=[PAGES]))])
    @require_fb_token(scopes=["user_posts"])
    async def view(request: Request) -> dict[str, Any]:
        return {}

    app.include_router(router)
    client = place(app)
    granted: list[str] = []
    for missing in ("email", PAGES, "user_posts"):
        headers = fb_token.headers(scopes=[*granted, "public_profile"])
        assert_refused(client.get("/x", headers=headers), "insufficient_scope", scopes=[missing])
        granted.append(missing)
    assert_allowed(client.get("/x", headers=fb_token.headers(scopes=granted)))
    assert len(fb_sandbox.calls) == 4  # one look-up a token, whoever asks


def test_optional(stated, fb_token):
    app = FastAPI()

    @app.get("/feed")
    async def feed(token: Maybe) -> dict[str, Any]:
        return {"user": token and token.user_id, "same": current_token() is token}

    client = stated(app)
    assert client.get("/feed").json() == {"user": None, "same": True}
    assert client.get("/feed", headers={"Authorization": "Basic eA=="}).json()["user"] is None
    assert client.get("/feed", headers=fb_token.headers(user_id="7")).json() == {"user": "7", "same": True}
    assert_refused(client.get("/feed", headers={"Authorization": "Bearer a|b"}), "malformed_token")
    assert_refused(client.get("/feed", headers=fb_token.headers(expires_in=-1)), "expired")


def test_a_mounted_app_has_its_own_guard(fb_guard, fb_token, fb_sandbox):
    sub, app = FastAPI(), FastAPI()

    @sub.get("/me/{page}")
    async def me(token: Annotated[TokenInfo, Depends(FBToken(scopes=[PAGES], target="page"))]) -> str:
        return token.user_id or ""

    app.mount("/sub", sub)
    _state(sub, fb_guard)
    client = TestClient(app)
    ours = fb_token.headers(scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    assert_refused(client.get("/sub/me/501"), "missing_token")
    assert_allowed(client.get("/sub/me/501", headers=ours))
    assert_refused(client.get("/sub/me/502", headers=ours), "insufficient_target")


def test_a_door_serves_mounted_apps_too(fb_guard, fb_token):
    sub, app = FastAPI(), FastAPI()
    sub.get("/me")(_app_with_views().routes[-1].endpoint)
    app.mount("/sub", sub)
    for door in (_inside(app, fb_guard), _around(app, fb_guard)):
        client = TestClient(door)
        assert_refused(client.get("/sub/me"), "missing_token")
        assert_allowed(client.get("/sub/me", headers=fb_token.headers(scopes=["email"])))


# -- where the guard comes from ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["guard", "callable"])
def test_a_guard_of_the_dependency(fb_guard, fb_token, kind):
    app = FastAPI()
    given = fb_guard if kind == "guard" else lambda: fb_guard

    @app.get("/x", dependencies=[Depends(FBToken(guard=given))])
    async def view() -> dict[str, Any]:
        return {}

    client = TestClient(app)
    assert_refused(client.get("/x"), "missing_token")
    assert_allowed(client.get("/x", headers=fb_token.headers()))


def test_several_facebook_apps(fb_sandbox, fb_token):
    other = Sandbox(app_id="99")
    app = FastAPI()
    with fb_sandbox.guard() as first, other.guard() as second:

        @app.get("/first")
        async def one(token: TokenInfo = Depends(FBToken(guard=first))) -> str:  # noqa: B008
            return token.app_id

        @app.get("/second")
        async def two(token: TokenInfo = Depends(FBToken(guard=second))) -> str:  # noqa: B008
            return token.app_id

        client = TestClient(_around(app, first, PUBLIC))
        theirs = other.bearer(other.issue_token())
        assert client.get("/first", headers=fb_token.headers()).json() == fb_sandbox.app_id
        assert client.get("/second", headers=theirs).json() == "99"
        assert_refused(client.get("/first", headers=theirs), "malformed_token")  # another sandbox's


@pytest.mark.parametrize("wrong", [None, "a guard"])
def test_without_a_guard_the_error_says_what_to_do(wrong):
    app = _app_with_views()
    if wrong is not None:
        app.state.fbguard = wrong
    with pytest.raises(RuntimeError, match=r"app\.state\.fbguard"):
        TestClient(app).get("/async")


def test_a_callable_that_gives_no_guard_is_no_pass():
    app = FastAPI()
    app.get("/x", dependencies=[Depends(FBToken(guard=lambda: None))])(_nothing)
    with pytest.raises(RuntimeError, match="returned no Guard"):
        TestClient(app).get("/x")


def test_a_dependency_that_could_only_loosen(fb_guard, fb_token):
    app = FastAPI()
    app.get("/x", dependencies=[Depends(OptionalFBToken())])(_nothing)
    client = TestClient(_around(app, fb_guard, Policy()))
    with pytest.raises(RuntimeError, match="could only loosen"):
        client.get("/x", headers=fb_token.headers())


# -- a value -------------------------------------------------------------------------------------------


def test_equal_by_value_frozen_hashable(fb_guard):
    asked = {"scopes": ["email"], "target": "page"}
    assert FBToken(**asked) == FBToken(**asked)
    assert len({FBToken(**asked), FBToken(**asked), FBToken()}) == 2
    assert FBToken(guard=fb_guard) == FBToken(guard=fb_guard) != FBToken()
    assert FBToken() != OptionalFBToken()
    assert FBToken(optional=False) == FBToken()
    assert OptionalFBToken() == OptionalFBToken(optional=True)
    assert FBToken() != "FBToken"
    with pytest.raises(AttributeError, match="frozen"):
        FBToken().requirement = Requirement()  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del FBToken().guard
    assert repr(FBToken(scopes=["email"])).startswith("FBToken(Requirement(scopes=('email',)")


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (FBToken, {"scope": ["email"]}, "FBToken has no option 'scope'; is it 'scopes'?"),
        (OptionalFBToken, {"gard": None}, "OptionalFBToken has no option 'gard'; is it 'guard'?"),
        (FBToken, {"public": True}, "FBToken has no option 'public': that is for a Rule"),
    ],
)
def test_what_a_keyword_should_have_been(kind, options, says):
    with pytest.raises(TypeError, match=f"^{re.escape(says)}$"):
        kind(**options)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: FBToken(optional=True), ValueError),
        (lambda: OptionalFBToken(optional=False), ValueError),
        (lambda: FBToken(scopes="email"), TypeError),
        (lambda: FBToken(target="page"), ValueError),
        (lambda: FBToken(guard="guard"), TypeError),
        (lambda: FBToken(scope=["email"]), TypeError),
    ],
)
def test_wrong_arguments(make, error):
    with pytest.raises(error):
        make()


def test_dependency_overrides(fb_guard):
    app = _app_with_views()

    @app.get("/maybe")
    async def maybe(token: Maybe) -> bool:
        return token is None

    someone = TokenInfo(app_id="1", type="USER", is_valid=True, user_id="9", scopes=frozenset({"email"}))
    app.dependency_overrides[FBToken(scopes=["email"])] = lambda: someone
    client = TestClient(_state(app, fb_guard))
    assert client.get("/async").json() == {"user": "9", "same": False}
    assert client.get("/maybe").json() is True  # another value, not overridden
    app.dependency_overrides.clear()
    assert_refused(client.get("/async"), "missing_token")


# -- targets, bodies, background -----------------------------------------------------------------------


def test_a_target_is_compared_as_text(place, fb_token):
    app = FastAPI()

    @app.get("/pages/{page_id}")
    async def by_int(
        page_id: int, token: Annotated[TokenInfo, Depends(FBToken(scopes=[PAGES], target="page_id"))]
    ) -> int:
        return page_id

    @app.get("/shops/{shop:int}")
    def by_converter(
        shop: int,
        token: Annotated[
            TokenInfo, Depends(FBToken(scopes=[PAGES], target=lambda params: str(params["shop"])))
        ],
    ) -> int:
        return shop

    client = place(app)
    ours = fb_token.headers(scopes=[PAGES], granular_scopes={PAGES: ["501"]})
    for path in ("/pages/501", "/shops/501"):
        assert client.get(path, headers=ours).json() == 501
    for path in ("/pages/777", "/shops/777", "/pages/0501", "/pages/+501"):
        assert_refused(client.get(path, headers=ours), "insufficient_target", status=403)


def test_a_target_that_the_route_has_not_is_never_a_pass(place, fb_token):
    app = FastAPI()
    app.get("/x/{page}", dependencies=[Depends(FBToken(scopes=[PAGES], target="shop"))])(_nothing)
    client = place(app)
    with pytest.raises(RuntimeError, match="'shop'"):
        client.get("/x/1", headers=fb_token.headers(scopes=[PAGES]))


class Item(BaseModel):
    size: int


def _app_with_bodies(**router: Any) -> FastAPI:
    app = FastAPI()
    included = router.pop("included", [])
    routes = APIRouter(**router)
    own = [] if included else [Depends(FBToken())]

    @routes.post("/items/{number}", dependencies=own)
    async def make(number: int, item: Item, flag: bool = False) -> dict[str, Any]:
        return {"size": item.size}

    app.include_router(routes, dependencies=included)
    return app


def test_the_verdict_comes_before_the_validation(place, fb_token):
    client = place(_app_with_bodies())
    for path, body in (
        ("/items/1", {"size": "x"}),
        ("/items/1", {}),
        ("/items/x", {"size": 1}),
        ("/items/1?flag=7", {"size": 1}),
    ):
        assert_refused(client.post(path, json=body), "missing_token")
        assert client.post(path, json=body, headers=fb_token.headers()).status_code == 422
    assert client.post("/items/1", json={"size": 3}, headers=fb_token.headers()).json() == {"size": 3}


@pytest.mark.parametrize(
    "router",
    [
        {"route_class": FBRoute},
        {"route_class": FBRoute, "included": [Depends(FBToken())]},
        {"route_class": FBRoute, "dependencies": [Depends(FBToken())]},
    ],
    ids=["route", "included", "router"],
)
def test_fbroute_judges_before_it_reads_the_body(stated, fb_token, router):
    client = stated(_app_with_bodies(**router))
    headers = {"Content-Type": "application/json"}
    assert_refused(client.post("/items/1", content=b"{", headers=headers), "missing_token")
    known = fb_token.headers() | headers
    assert client.post("/items/1", content=b"{", headers=known).status_code == 422
    assert client.post("/items/1", content=b'{"size": 3}', headers=known).json() == {"size": 3}


def test_without_fbroute_a_broken_body_is_read_first(stated):
    """Why FBRoute is there; when FastAPI changes this, it may go."""
    client = stated(_app_with_bodies())
    broken = client.post("/items/1", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 422


def test_fbroute_reads_nothing_of_a_refused_body(fb_guard):
    app = _state(_app_with_bodies(route_class=FBRoute), fb_guard)

    async def receive() -> Any:
        raise AssertionError("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = http_scope("/items/1", "POST", [("Content-Type", "application/json")])
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_fbroute_knows_overrides(fb_guard):
    app = _app_with_bodies(route_class=FBRoute)
    app.dependency_overrides[FBToken()] = lambda: None
    client = TestClient(_state(app, fb_guard))
    assert client.post("/items/1", json={"size": 3}).json() == {"size": 3}


async def _user(token: AnyUser) -> str | None:
    return token.user_id


def test_fbroute_does_not_judge_below_an_override(fb_guard):
    app = FastAPI()
    routes = APIRouter(route_class=FBRoute)

    @routes.post("/items")
    async def make(item: Item, user: Annotated[str, Depends(_user)]) -> str:
        return user

    app.include_router(routes)
    client = TestClient(_state(app, fb_guard))
    assert_refused(client.post("/items", json={}), "missing_token")
    app.dependency_overrides[_user] = lambda: "nobody"
    assert client.post("/items", json={"size": 3}).json() == "nobody"


def test_background_tasks_and_streams_know_their_token(place, fb_token):
    app = FastAPI()
    seen: list[tuple[str, str | None]] = []

    def note(what: str) -> None:
        info = current_token()
        seen.append((what, info and info.user_id))

    async def note_async(what: str) -> None:
        note(what)

    @app.get("/x")
    async def view(token: AnyUser, tasks: BackgroundTasks) -> StreamingResponse:
        tasks.add_task(note, "sync task")
        tasks.add_task(note_async, "async task")

        async def body() -> Any:
            note("stream")
            yield b"x"

        return StreamingResponse(body(), background=tasks)

    client = place(app)
    for user in ("7", "8"):
        assert_allowed(client.get("/x", headers=fb_token.headers(user_id=user)))
    whats = ["stream", "sync task", "async task"]
    assert seen == [(what, user) for user in ("7", "8") for what in whats]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_nothing_is_left_afterwards(fb_guard, fb_token, place, path):
    app = _app_with_views()

    @app.get("/broken")
    async def broken(token: AnyUser) -> None:
        raise LookupError

    door = PLACES[place](app, fb_guard)

    async def run() -> list[object]:
        left = []
        for headers in (fb_token.headers(scopes=["email"]), fb_token.headers(), {}):
            await call_asgi(door, http_scope(path, headers=headers.items()))
            left.append(carrier_of_request.get())
        with pytest.raises(LookupError):
            await call_asgi(door, http_scope("/broken", headers=fb_token.headers().items()))
        left.append(carrier_of_request.get())
        return left

    # nothing in the caller's own task, where test clients and some servers run one request after another
    assert asyncio.run(run()) == [None] * 4


def test_a_handler_of_the_application_wins(fb_guard):
    from fbguard import Refused

    app = _app_with_views()

    @app.exception_handler(Refused)
    async def ours(request: Request, refused: Refused) -> PlainTextResponse:
        return PlainTextResponse(refused.reason, refused.status)

    for door in (_state(app, fb_guard), _inside(app, fb_guard), _around(app, fb_guard)):
        assert TestClient(door).get("/async").text == "missing_token"


def test_catch_alls_do_not_swallow_refusals(fb_guard):
    from starlette.responses import PlainTextResponse

    app = _app_with_views()

    async def oops(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("oops", 500)

    app.add_exception_handler(Exception, oops)
    app.add_exception_handler(500, oops)
    assert_refused(TestClient(_state(app, fb_guard)).get("/async"), "missing_token")


# -- the decorator on FastAPI's endpoints --------------------------------------------------------------


def test_decorated_endpoints_keep_their_parameters(place, fb_token):
    app = FastAPI()

    @app.get("/async/{number}")
    @require_fb_token(scopes=["email"])
    async def in_async(number: int, request: Request, q: str = "") -> dict[str, Any]:
        return {"number": number, "q": q, "user": current_token(required=True).user_id}

    @app.post("/sync/{number}")
    @require_fb_token(scopes=["email"], target="number")
    def in_sync(number: int, item: Item, request: Request, word: Annotated[str, Body()]) -> dict[str, Any]:
        return {"number": number, "word": word, "user": current_token(required=True).user_id}

    client = place(app)
    ours = fb_token.headers(user_id="7", scopes=["email"], granular_scopes={"email": ["3"]})
    assert client.get("/async/3?q=a", headers=ours).json() == {"number": 3, "q": "a", "user": "7"}
    assert client.get("/async/x", headers=ours).status_code == 422
    sent = {"item": {"size": 1}, "word": "w"}
    assert client.post("/sync/3", json=sent, headers=ours).json() == {"number": 3, "word": "w", "user": "7"}
    assert_refused(client.post("/sync/4", json=sent, headers=ours), "insufficient_target")
    assert_refused(client.get("/async/3"), "missing_token")
    assert_refused(client.post("/sync/3", json=sent), "missing_token")


def test_a_decorated_endpoint_needs_no_request_under_a_door(fb_guard, fb_token):
    app = FastAPI()

    @app.get("/x/{number}")
    @require_fb_token(scopes=["email"], target="number")
    async def view(number: int) -> int:
        return number

    headers = fb_token.headers(scopes=["email"], granular_scopes={"email": ["3"]})
    for door in (_inside(app, fb_guard), _around(app, fb_guard)):
        client = TestClient(door)
        assert client.get("/x/3", headers=headers).json() == 3
        assert_refused(client.get("/x/4", headers=headers), "insufficient_target")
        assert_refused(client.get("/x/3"), "missing_token")


def test_a_decorated_endpoint_beside_a_dependency_needs_no_request(stated, fb_token):
    app = FastAPI(dependencies=[Depends(FBToken())])

    @app.get("/x")
    @require_fb_token(scopes=["email"])
    async def view() -> int:
        return 1

    client = stated(app)
    assert_refused(client.get("/x", headers=fb_token.headers()), "insufficient_scope")
    assert_allowed(client.get("/x", headers=fb_token.headers(scopes=["email"])))


def test_a_decorated_endpoint_without_door_and_request_says_what_to_do(stated):
    app = FastAPI()
    app.get("/x")(require_fb_token(lambda: 1))
    with pytest.raises(RuntimeError, match="give the view the request"):
        stated(app).get("/x")


def test_middleware_argument_of_the_app(fb_guard, fb_token):
    app = FastAPI(middleware=[Middleware(FBTokenMiddleware, guard=fb_guard)])
    app.get("/x")(lambda: current_token(required=True).user_id)
    client = TestClient(app)
    assert client.get("/x", headers=fb_token.headers(user_id="7")).json() == "7"
    assert_refused(client.get("/docs"), "missing_token")


# -- what FastAPI is told of a dependency, and how it ends ---------------------------------------------------


def test_no_generator_and_no_thread():
    """FastAPI takes longer for either than for all the rest of a request."""
    assert inspect.iscoroutinefunction(FBToken.__call__)
    assert not inspect.isasyncgenfunction(FBToken.__call__)


@pytest.mark.parametrize("handled", [False, True], ids=["", "by a handler of the app"])
def test_what_graph_says_is_heeded(place, fb_guard, fb_token, fb_sandbox, handled):
    """Also where the app has words of its own for it, which no door sees."""
    app = FastAPI()
    token = fb_token(scopes=["email"])

    if handled:

        @app.exception_handler(OAuthException)
        async def own_words(request: Request, error: OAuthException) -> PlainTextResponse:
            return PlainTextResponse("own words", 418)

    @app.get("/x")
    async def view(info: AnyUser) -> None:
        raise OAuthException("Error validating access token", code=190, subcode=463)

    client = place(app)
    headers = {"Authorization": f"Bearer {token}"}
    for asked in (1, 2):
        assert client.get("/x", headers=headers).status_code == (418 if handled else 401)
        assert len(fb_sandbox.calls) == asked  # forgotten, so asked again


def test_a_stack_that_fastapi_does_not_give_is_done_without(fb_guard, fb_token, monkeypatch):
    """The facts are in the parameter; nobody could take them back from current_token()."""
    monkeypatch.setattr("fbguard.integrations.fastapi._STACK", "of another version")
    app = _state(FastAPI(), fb_guard)
    seen: list[object] = []

    @app.get("/x")
    async def view(token: AnyUser, request: Request) -> str | None:
        seen.append((current_token(), request.state.fb_token is token))
        return token.user_id

    async def run() -> object:
        sent = await call_asgi(app, http_scope("/x", headers=fb_token.headers(user_id="7").items()))
        seen.append(sent.status)
        return carrier_of_request.get()

    assert asyncio.run(run()) is None
    assert seen == [(None, True), 200]


@pytest.mark.parametrize("scopes", [False, True], ids=["", "with scopes"])
@pytest.mark.parametrize("how", ["wait_for", "gather", "thread", "awaited"])
def test_a_dependency_called_by_hand_leaves_nothing_to_fastapi(place, fb_token, how, scopes):
    """It may be in a task or a thread of its own, whose context is another than the request's."""
    dependency = FBToken(scopes=["email"])
    app = FastAPI()
    ends: list[str] = []
    users: list[str | None] = []

    async def session() -> Any:
        try:
            yield "session"
        except BaseException:
            ends.append("rolled back")
            raise
        ends.append("committed")

    async def by_hand(*given: Any) -> TokenInfo | None:
        if how == "wait_for":
            return await asyncio.wait_for(dependency(*given), 3)
        if how == "gather":
            return (await asyncio.gather(dependency(*given)))[0]
        if how == "thread":
            return await run_in_threadpool(anyio.from_thread.run, dependency, *given)
        return await dependency(*given)

    async def noted(request: Request, asked: SecurityScopes) -> None:
        token = await by_hand(request, *([asked] if scopes else []))
        assert token is not None
        users.append(token.user_id)

    @app.get("/x", dependencies=[Depends(session), Depends(noted)])
    async def view() -> str | None:
        return users.pop()

    client = place(app)
    for _ in range(2):
        answer = client.get("/x", headers=fb_token.headers(user_id="7", scopes=["email"]))
        assert (answer.status_code, answer.json()) == (200, "7")
    assert ends == ["committed"] * 2
    assert_refused(client.get("/x", headers=fb_token.headers(user_id="7")), "insufficient_scope")


def test_a_dependency_called_by_hand_in_a_copied_scope_is_not_of_the_outer_request(place, fb_token):
    dependency = FBToken()
    app = FastAPI()
    other = fb_token.headers(user_id="2")

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        token = await dependency(Request(scope))
        assert token is not None
        await PlainTextResponse(token.user_id or "")(scope, receive, send)

    @app.get("/x")
    async def view(request: Request, token: AnyUser) -> list[str | None]:
        headers = [(name.lower().encode(), value.encode()) for name, value in other.items()]
        answer = await call_asgi(inner, {**request.scope, "headers": headers})
        return [token.user_id, answer.body.decode(), current_token(required=True).user_id]

    assert place(app).get("/x", headers=fb_token.headers(user_id="1")).json() == ["1", "2", "1"]
