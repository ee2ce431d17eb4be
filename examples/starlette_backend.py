"""Starlette's own authentication on Facebook tokens: ``request.user`` and ``@requires``.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.starlette_backend:app

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fbguard import Guard
from fbguard.integrations.starlette import FBAuthBackend


async def hello(request: Request) -> JSONResponse:
    """Greet anybody; a bad token does not get this far."""
    return JSONResponse({"hello": request.user.display_name or "stranger"})


@requires("authenticated", status_code=401)
async def me(request: Request) -> JSONResponse:
    token = request.user.token  # the TokenInfo
    return JSONResponse({"user": token.user_id, "scopes": sorted(token.scopes)})


@requires(["authenticated", "email"])
async def newsletter(request: Request) -> JSONResponse:
    return JSONResponse({"subscribed": request.user.identity})


guard = Guard.from_env()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with guard:  # closed at the end
        yield


backend = FBAuthBackend(guard)
app = Starlette(
    routes=[Route("/", hello), Route("/me", me), Route("/newsletter", newsletter, methods=["POST"])],
    # on_error: a refused token gets its reason, challenge and re-login hint
    middleware=[Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)],
    lifespan=lifespan,
)
