"""Several workers, one store: a look-up of one serves all, and a session that ends at one ends at all.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.shared_store:app --workers 4

Ask for /me some times: it tells which worker answered, and /status how many facts that worker has. Then log
out, and every worker refuses the token::

    curl http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
    curl -i -X POST http://127.0.0.1:8000/log-out -H "Authorization: Bearer $TOKEN"

The workers of this machine share a file. Those of several machines share a Redis: set ``FBGUARD_REDIS_URL``.
"""

import os
import tempfile
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.stores.sqlite import SQLiteStore

if "FBGUARD_REDIS_URL" in os.environ:
    guard = Guard.from_env()
else:
    guard = Guard.from_env(store=SQLiteStore(Path(tempfile.gettempdir()) / "fbguard-example.db"))


async def me(_request: Request) -> JSONResponse:
    return JSONResponse({"user": current_token(required=True).user_id, "worker": os.getpid()})


async def log_out(request: Request) -> Response:
    # When it returns, the session is over in the store, and at all workers within a second. With the store
    # away it raises StoreUnavailable: over here, and elsewhere once the store is back.
    await guard.aexpire_session(request.headers["Authorization"].partition(" ")[2])
    return Response(status_code=204)


async def status(_request: Request) -> JSONResponse:
    health = guard.health()
    store = None if health.store is None else health.store.status
    return JSONResponse({"worker": os.getpid(), "facts": health.cached, "store": store})


app = FBTokenMiddleware(
    Starlette(
        routes=[
            Route("/me", me),
            Route("/log-out", log_out, methods=["POST"]),
            Route("/status", status),
        ]
    ),
    guard,
    policy=Policy(Rule("/status", public=True)),
)
