"""What a user writes, as a strict type checker sees it. Never run: mypy and pyright read it.

A line that must be an error carries an ignore; both checkers complain about an ignore that hides nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, assert_type

import flask
import httpx
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from fastapi import Depends, FastAPI
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from fbguard import (
    GraphAuth,
    Guard,
    OAuthException,
    Policy,
    Refused,
    Requirement,
    Rule,
    TokenInfo,
    asgi,
    current_token,
    raise_for_graph_error,
    require_fb_token,
    wsgi,
)
from fbguard.integrations import django as fb_django
from fbguard.integrations.fastapi import REFUSALS, FBRoute, FBToken, OptionalFBToken
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import EXCEPTION_HANDLERS, FBAuthBackend, FBUser
from fbguard.sandbox import Sandbox
from fbguard.testing import TokenFactory, assert_allowed, assert_refused

# -- the guard ---------------------------------------------------------------------------------------------

guard = Guard(app_id="1234567890", app_secret="s3cret-of-the-app", ttl=60, token_from=["header", "cookie:fb"])
Guard(app_id="1234567890", app_secret=["new-secret-1", "old-secret-2"]).close()
Guard(app_id=1234567890, app_secret="s3cret")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Guard(app_id="1234567890", app_secret="s3cret", tll=60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
assert_type(Guard.from_env(ttl=60.0), Guard)
assert_type(Guard.from_mapping({"app_id": "1234567890"}), Guard)
with guard as entered:
    assert_type(entered, Guard)

policy = Policy(
    Rule("/health", public=True),
    Rule("/pages/{page_id}", methods=["GET"], scopes=["pages_show_list"], target="page_id"),
    Rule("/mine", target=lambda params: str(params["page"]), any_scope={"email"}),
    default=Requirement(scopes=("email",), min_remaining=60),
)
Rule("/health", publik=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Requirement(scopes=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def in_a_function(token: str) -> str:
    try:
        info = guard.check(token, Requirement(scopes=["email"]), {"page_id": "1"})
    except Refused as refused:
        answer = refused.answer(accept="*/*", language="id")
        assert_type(answer.headers, list[tuple[str, str]])
        assert_type(answer.body, bytes)
        assert_type(refused.relogin.url, str | None)
        return refused.reason
    assert_type(info, TokenInfo)
    assert_type(info.user_id, str | None)
    assert_type(info.scopes, frozenset[str])
    assert_type(current_token(), TokenInfo | None)
    assert_type(current_token(required=True), TokenInfo)
    info.app_id = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    return info.fingerprint


async def in_a_coroutine(token: str) -> TokenInfo:
    async with guard:
        return await guard.acheck(token)


# -- views keep their types ----------------------------------------------------------------------------------


@require_fb_token(scopes=["email"], guard=guard)
def sync_view(page_id: int, *, verbose: bool = False) -> str:
    return f"{page_id}{verbose}"


@require_fb_token
async def async_view(request: Request) -> JSONResponse:
    return JSONResponse({"user": current_token(required=True).user_id})


@require_fb_token(optional=True, guard=lambda: guard)
class FlaskView(MethodView):
    def get(self) -> str:
        return "hello"


@require_fb_token(scopes=["email"])
class DjangoView(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")


@require_fb_token()
class Endpoint(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return Response()


assert_type(sync_view(1, verbose=True), str)
sync_view("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
kept: Callable[[Request], Awaitable[JSONResponse]] = async_view
assert_type(FlaskView(), FlaskView)
assert_type(DjangoView(), DjangoView)
require_fb_token(scopes=["email"])(functools.partial(sync_view, 1))
require_fb_token(scpoes=["email"])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

# -- Starlette -----------------------------------------------------------------------------------------------


@requires("email")
async def with_a_user(request: Request) -> JSONResponse:
    user = request.user
    assert isinstance(user, FBUser)
    assert_type(user.token, TokenInfo)
    return JSONResponse({"user": user.identity})


backend = FBAuthBackend(guard, Requirement(optional=True))
Starlette(
    middleware=[Middleware(AuthenticationMiddleware, backend=backend, on_error=FBAuthBackend.on_error)],
    exception_handlers=EXCEPTION_HANDLERS,
)
inside = Starlette()
inside.add_middleware(asgi.FBTokenMiddleware, guard=guard, policy=policy)
around = asgi.FBTokenMiddleware(Starlette(), guard, policy=None)
asgi.FBTokenMiddleware(Starlette(), guard, policy="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@require_fb_token(scopes=["email"], guard=guard)
async def socket_view(websocket: WebSocket) -> None:
    assert_type(current_token(required=True), TokenInfo)
    await websocket.accept(subprotocol="bearer")


@require_fb_token
class SocketEndpoint(WebSocketEndpoint):
    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(data)


Starlette(routes=[WebSocketRoute("/socket", socket_view), WebSocketRoute("/endpoint", SocketEndpoint)])

# -- FastAPI -------------------------------------------------------------------------------------------------

Token = Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]
MaybeToken = Annotated[TokenInfo | None, Depends(OptionalFBToken(guard=guard))]
api = FastAPI(responses=REFUSALS, dependencies=[Depends(FBToken())])
api.router.route_class = FBRoute
FBToken(scopess=["email"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@api.get("/me")
async def with_a_token(token: Token, maybe: MaybeToken) -> dict[str, str | None]:
    return {"user": token.user_id, "maybe": maybe.user_id if maybe else None}


@api.websocket("/socket")
async def socket_with_a_token(websocket: WebSocket, token: Token) -> None:
    await websocket.accept()
    await websocket.send_text(token.user_id or "")


# -- Flask ---------------------------------------------------------------------------------------------------

flask_app = flask.Flask(__name__)
FBGuard(flask_app, guard, policy=policy)
extension = FBGuard(policy=None)
extension.init_app(flask_app)
door = wsgi.FBTokenMiddleware(flask_app.wsgi_app, guard)


@flask_app.get("/pages/<page_id>")
@require_fb_token(scopes=["pages_show_list"], target="page_id")
def flask_view(page_id: str) -> dict[str, str]:
    return {"page": page_id}


# -- Django --------------------------------------------------------------------------------------------------


@require_fb_token(scopes=["email"])
def django_view(request: HttpRequest, page_id: str) -> HttpResponse:
    return HttpResponse(page_id)


@require_fb_token(scopes=["email"])
def django_view_with_facts(request: fb_django.GuardedRequest) -> HttpResponse:
    assert_type(request.fb_token, TokenInfo | None)
    return HttpResponse(request.fb_token.user_id if request.fb_token else "nobody")


async def django_async_view(request: fb_django.GuardedRequest) -> HttpResponse:
    kept: HttpRequest = request
    return HttpResponse(kept.method)


@method_decorator(require_fb_token(scopes=["email"]), name="dispatch")
class ByName(View):
    def get(self, request: fb_django.GuardedRequest) -> HttpResponse:
        return HttpResponse("hello")


class ByMethod(View):
    @method_decorator(require_fb_token(scopes=["email"]))
    def get(self, request: HttpRequest, page_id: int) -> HttpResponse:
        return HttpResponse(str(page_id))

    @method_decorator(require_fb_token)
    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("posted")


assert_type(ByName(), ByName)
assert_type(ByMethod().get(HttpRequest(), 1), HttpResponse)
assert_type(django_view_with_facts(fb_django.GuardedRequest()), HttpResponse)
require_fb_token(django_async_view)
assert_type(fb_django.guard(), Guard)
assert_type(django_view(HttpRequest(), "1"), HttpResponse)

# -- calling Graph -------------------------------------------------------------------------------------------


async def calls_graph(client: httpx.AsyncClient) -> str | None:
    try:
        response = raise_for_graph_error(
            await client.get("https://graph.facebook.com/me", auth=GraphAuth(timed=True))
        )
    except OAuthException as error:
        assert_type(error.reason, str | None)
        assert_type(error.recovery_message("id"), str | None)
        return error.user_message
    assert_type(response, httpx.Response)
    assert_type(raise_for_graph_error({"id": "1"}), dict[str, str])
    raise OAuthException("The session is over.", code=190, subcode=460)


# -- tests ---------------------------------------------------------------------------------------------------

sandbox = Sandbox()
fb_token = sandbox.issue_token(user_id="42", scopes=["email"], expires_in=60)
assert_type(fb_token, str)
assert_type(sandbox.guard(ttl=60.0), Guard)


def test_with_the_fixtures(fb_sandbox: Sandbox, fb_guard: Guard, fb_token: TokenFactory) -> None:
    assert_type(fb_token(scopes=["email"], user_id="42"), str)
    assert_type(fb_token.headers(expires_in=60), dict[str, str])
    fb_token(scpoes=["email"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    info = fb_guard.check(fb_token())
    assert_type(info, TokenInfo)
    answer = httpx.get("https://api.example/me", headers=fb_sandbox.bearer(fb_token()))
    assert_allowed(answer)
    body = assert_refused(answer, "insufficient_scope", status=403, action="login", scopes=["email"])
    assert body["reason"]
