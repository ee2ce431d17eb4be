"""A site whose people log in with Facebook in their browser: no token in any script, a cookie carries it.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    export FBGUARD_REDIRECT_URI=http://127.0.0.1:8000/auth/callback
    uvicorn examples.login:app

Then open http://127.0.0.1:8000/ in a browser and log in: the sandbox lets anybody be anybody. The page about
permissions asks for one more, once, and comes back to itself.

At the real Facebook the app's dashboard gets https://YOUR.HOST/auth/callback as a valid redirect URI.
"""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from fbguard import Guard, Policy, Rule, current_token
from fbguard.asgi import FBTokenMiddleware

# On https, so everywhere but here, it has to be "__Host-fb_token": then nobody else can plant one.
COOKIE = os.environ.get("COOKIE", "fb_token")
guard = Guard.from_env(token_from=("header", f"cookie:{COOKIE}"))

LOG_OUT = '<form method="post" action="/auth/logout"><button>Log out</button></form>'


async def home(_request: Request) -> HTMLResponse:
    return HTMLResponse('<h1>Welcome</h1><p><a href="/auth/login?next=/me">Log in with Facebook</a></p>')


async def me(_request: Request) -> HTMLResponse:
    user = current_token(required=True).user_id
    return HTMLResponse(f'<h1>You are {user}</h1><p><a href="/pages">Your pages</a></p>{LOG_OUT}')


async def pages(_request: Request) -> HTMLResponse:
    return HTMLResponse(f"<h1>Your pages</h1>{LOG_OUT}")


app = FBTokenMiddleware(
    Starlette(
        routes=[
            Route("/", home),
            Route("/me", me),
            Route("/pages", pages),
            Mount("/auth", guard.login_asgi(after="/me", scopes=["email"])),
        ]
    ),
    guard,
    policy=Policy(
        Rule("/", public=True),
        # Who logs in has no token yet.
        Rule("/auth/{rest:path}", public=True),
        Rule("/pages", scopes=["pages_show_list"]),
    ),
)
