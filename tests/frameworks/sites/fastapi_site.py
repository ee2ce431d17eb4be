"""FastAPI: dependencies, without any door, and under one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from fbguard import Guard, TokenInfo
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBToken, OptionalFBToken
from tests.frameworks.apps import OWN, PAGE, REQUIRED, RULES, bearer, before_stream, in_stream, said
from tests.frameworks.sites import logs
from tests.frameworks.sites.hasty import HastyClock

guard = Guard.from_env(clock=HastyClock(), limited_login=True)
logs.watch()

Me = Annotated[TokenInfo, Depends(FBToken())]
Email = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["email"]))]
Pages = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["pages"]))]
Either = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["either"]))]
Optional = Annotated[TokenInfo | None, Depends(OptionalFBToken())]
Machine = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["machine"]))]
Limited = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["limited"]))]
Wide = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["wide"]))]
Soon = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["soon"]))]
Fresh = Annotated[TokenInfo, Depends(FBToken(**REQUIRED["fresh"]))]


async def health(request: Request) -> dict[str, Any]:
    return said("health", getattr(request.state, "fb_token", None))


async def me(token: Me) -> dict[str, Any]:
    return said("me", token)


async def email(token: Email, request: Request) -> dict[str, Any]:
    assert request.state.fb_token is token
    return said("email", request.state.fb_token)


async def pages(page_id: int, token: Pages) -> dict[str, Any]:
    return said(f"pages/{page_id}", token)


def either(token: Either) -> dict[str, Any]:
    return said("either", token)


async def optional(token: Optional) -> dict[str, Any]:
    return said("optional", token)


async def machine(token: Machine) -> dict[str, Any]:
    return said("machine", token)


async def limited(token: Limited) -> dict[str, Any]:
    return said("limited", token)


def wide(token: Wide) -> dict[str, Any]:
    return said("wide", token)


def soon(token: Soon) -> dict[str, Any]:
    return said("soon", token)


async def fresh(token: Fresh) -> dict[str, Any]:
    return said("fresh", token)


async def report(token: Email) -> dict[str, Any]:
    return said("report", token)


async def stream(token: Me) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield before_stream()
        yield in_stream()

    return StreamingResponse(body(), media_type="application/json")


async def refuse(request: Request) -> dict[str, Any]:
    info = await guard.acheck(bearer(request.headers.get("authorization")), OWN)
    return {"view": "refuse", "user": info.user_id, "carried": info.user_id}


async def log() -> dict[str, Any]:
    logs.complain()
    return said("log", None)


def _app(**refusing: Any) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.fbguard = guard
    for view in (health, me, email, either, optional, machine, limited, wide, soon, fresh, stream, log):
        app.add_api_route(f"/{view.__name__}", view, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route(PAGE, pages)
    app.add_api_route("/report", report, methods=["POST"])
    app.add_api_route("/refuse", refuse, **refusing)
    return app


# With no door, it is a dependency that teaches the app what a Refused is.
app = _app(dependencies=[Depends(OptionalFBToken())])
guarded = FBTokenMiddleware(_app(), guard, policy=RULES)
