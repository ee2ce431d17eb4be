"""Starlette: decorated views, of both colours, with the door around the app, in its stack, and both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fbguard import Guard, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from tests.frameworks.apps import OWN, PAGE, REQUIRED, RULES, VIEWS, bearer, before_stream, in_stream, said
from tests.frameworks.sites import logs
from tests.frameworks.sites.hasty import HastyClock

guard = Guard.from_env(clock=HastyClock(), limited_login=True)
logs.watch()


def _said(view: str, request: Request) -> Response:
    return JSONResponse(said(view, request.state.fb_token))


async def health(request: Request) -> Response:
    return _said("health", request)


async def me(request: Request) -> Response:
    return _said("me", request)


@require_fb_token(**REQUIRED["email"])
async def email(request: Request) -> Response:
    return _said("email", request)


@require_fb_token(**REQUIRED["pages"])
class Pages(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return _said(f"pages/{request.path_params['page_id']}", request)


@require_fb_token(**REQUIRED["either"])
def either(request: Request) -> Response:
    return _said("either", request)


@require_fb_token(**REQUIRED["optional"])
async def optional(request: Request) -> Response:
    return _said("optional", request)


@require_fb_token(**REQUIRED["machine"])
async def machine(request: Request) -> Response:
    return _said("machine", request)


@require_fb_token(**REQUIRED["limited"])
async def limited(request: Request) -> Response:
    return _said("limited", request)


@require_fb_token(**REQUIRED["wide"])
def wide(request: Request) -> Response:
    return _said("wide", request)


@require_fb_token(**REQUIRED["soon"])
def soon(request: Request) -> Response:
    return _said("soon", request)


@require_fb_token(**REQUIRED["fresh"])
async def fresh(request: Request) -> Response:
    return _said("fresh", request)


@require_fb_token(**REQUIRED["report"])
async def report(request: Request) -> Response:
    return _said("report", request)


async def stream(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield before_stream()
        yield in_stream()

    return StreamingResponse(body(), media_type="application/json")


async def refuse(request: Request) -> Response:
    info = await guard.acheck(bearer(request.headers.get("authorization")), OWN)
    return JSONResponse({"view": "refuse", "user": info.user_id, "carried": info.user_id})


async def log(request: Request) -> Response:
    logs.complain()
    return _said("log", request)


def _app(**options: Any) -> Starlette:
    plain = [health, me, email, either, optional, machine, limited, wide, soon, fresh, stream, refuse, log]
    routes = [Route(f"/{view.__name__}", view) for view in plain]
    return Starlette(
        routes=[*routes, Route(PAGE, Pages), Route("/report", report, methods=["POST"])], **options
    )


around = FBTokenMiddleware(_app(), guard, policy=VIEWS)
stacked = _app(middleware=[Middleware(FBTokenMiddleware, guard=guard, policy=VIEWS)])
twice = FBTokenMiddleware(
    _app(middleware=[Middleware(FBTokenMiddleware, guard=guard, policy=RULES)]), guard, policy=RULES
)
