"""A Starlette API behind Facebook access tokens.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.starlette_app:app

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware

POLICY = Policy(
    Rule("/health", public=True),
    Rule("/pages/{page_id}/posts", scopes=["pages_manage_posts"], target="page_id"),
)  # what no rule names needs a valid user token of your app


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


async def me(request: Request) -> JSONResponse:
    token = current_token(required=True)
    return JSONResponse({"user": token.user_id, "scopes": sorted(token.scopes)})


@require_fb_token(scopes=["email"])
async def newsletter(request: Request) -> JSONResponse:
    return JSONResponse({"subscribed": current_token(required=True).user_id})


async def posts(request: Request) -> JSONResponse:
    return JSONResponse({"page": request.path_params["page_id"], "posts": []})


routes = [
    Route("/health", health),
    Route("/me", me),
    Route("/newsletter", newsletter, methods=["POST"]),
    Route("/pages/{page_id}/posts", posts),
]
app = FBTokenMiddleware(Starlette(routes=routes), Guard.from_env(), policy=POLICY)
