"""An API that takes both: access tokens, and the ID tokens of Limited Login.

Needs ``fbguard[jwt]``. Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.limited_login:app

A login without tracking gives an ID token instead; the sandbox has such logins, too::

    export ID_TOKEN=$(curl -s -X POST $FBGUARD_GRAPH_URL/sandbox/issue_id_token | cut -d'"' -f4)
    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $ID_TOKEN"
    curl -i http://127.0.0.1:8000/pages -H "Authorization: Bearer $ID_TOKEN"

The first is 200 with either token. The second is 401: only an access token will do there, and the answer
tells the app to ask for a full login.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware

guard = Guard.from_env(limited_login=True)
EITHER = ("USER", "LIMITED_LOGIN")


async def me(_request: Request) -> JSONResponse:
    token = current_token(required=True)
    return JSONResponse({"user": token.user_id, "login": token.type})


async def newsletter(_request: Request) -> JSONResponse:
    return JSONResponse({"subscribed": current_token(required=True).user_id})


async def pages(_request: Request) -> JSONResponse:
    return JSONResponse({"user": current_token(required=True).user_id, "pages": []})


routes = [Route("/me", me), Route("/newsletter", newsletter, methods=["POST"]), Route("/pages", pages)]
policy = Policy(
    Rule("/me", token_types=EITHER),
    Rule("/newsletter", methods=["POST"], token_types=EITHER, scopes=["email"]),
    Rule("/pages", scopes=["pages_show_list"]),  # Graph is asked for them: only its own tokens will do
)
app = FBTokenMiddleware(Starlette(routes=routes), guard, policy=policy)
