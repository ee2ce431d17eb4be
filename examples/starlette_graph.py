"""A view that calls Graph as the person: what Graph says of the token there is answered like a refusal.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.starlette_graph:app
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fbguard import GraphAuth, Guard, OAuthException, Policy, Rule, current_token, raise_for_graph_error
from fbguard.asgi import FBTokenMiddleware

guard = Guard.from_env()


async def name(request: Request) -> JSONResponse:
    # A dead token: 401 with the hint. Throttled: 503. Both without a line here.
    graph: httpx.AsyncClient = request.state.graph
    answer = raise_for_graph_error(await graph.get("/me", params={"fields": "id,name"}))
    return JSONResponse({"name": answer.json()["name"]})


async def page(request: Request) -> JSONResponse:
    """Say what the page is called, if the person may see it; what is missing is told in the view's words."""
    graph: httpx.AsyncClient = request.state.graph
    try:
        answer = raise_for_graph_error(await graph.get(f"/{request.path_params['page_id']}"))
    except OAuthException as error:
        if error.category == "login_recoverable":
            raise  # the guard answers
        return JSONResponse({"page": None, "because": error.reason or "facebook", "code": error.code})
    return JSONResponse({"page": answer.json()["name"], "seen_by": current_token(required=True).user_id})


async def health(_request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, httpx.AsyncClient]]:
    async with httpx.AsyncClient(
        base_url=f"{guard.graph_url}/{guard.graph_version}", auth=GraphAuth()
    ) as graph:
        yield {"graph": graph}


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/name", name),
        Route("/pages/{page_id:int}", page),
    ],
    lifespan=lifespan,
    middleware=[Middleware(FBTokenMiddleware, guard=guard, policy=Policy(Rule("/health", public=True)))],
)
