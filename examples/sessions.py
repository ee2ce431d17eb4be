"""Sessions that end: a log-out endpoint, and what Facebook calls when a person leaves.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.sessions:app

Then the token that it has issued works, until its session is ended::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
    curl -i -X POST http://127.0.0.1:8000/log-out -H "Authorization: Bearer $TOKEN"

At the real Facebook the app's dashboard gets these addresses: https://YOUR.HOST/facebook/deauthorize,
/facebook/data-deletion and, for webhooks about permissions, /facebook/webhook.
"""

import logging
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware

guard = Guard.from_env()


async def me(_request: Request) -> JSONResponse:
    return JSONResponse({"user": current_token(required=True).user_id})


async def log_out(request: Request) -> Response:
    # The door has let one Bearer token in, so there is one. Only this session ends; upstream="revoke"
    # would end all of the person's, at Facebook.
    await guard.aexpire_session(request.headers["Authorization"].partition(" ")[2])
    return Response(status_code=204)


async def delete(user_id: str, confirmation_code: str) -> None:
    """Delete what the app has of a person; Facebook may ask twice, with the same code."""
    logging.getLogger(__name__).info("to be deleted: %s, request %s", user_id, confirmation_code)


callbacks = guard.callbacks_asgi(os.environ.get("VERIFY_TOKEN"), delete=delete)
app = FBTokenMiddleware(
    Starlette(
        routes=[
            Route("/me", me),
            Route("/log-out", log_out, methods=["POST"]),
            Mount("/facebook", callbacks),
        ]
    ),
    guard,
    # Who calls there brings a signature and no token.
    policy=Policy(Rule("/facebook/{rest:path}", public=True)),
)
