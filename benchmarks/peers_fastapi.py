"""FastAPI's HTTPBearer with Security scopes, and fbguard there.

Annotations are evaluated here: FastAPI reads those of functions in functions.
"""

import time
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from benchmarks.hit import POLICY
from benchmarks.requests import PATH
from benchmarks.world import BODIES, NEEDED, USER, Row, World
from fbguard import TokenInfo, current_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.integrations.fastapi import FBToken

FASTAPI: Final = "FastAPI app"


def _site(view: Any) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_api_route(PATH, view, response_class=Response)
    return app


def _answer(user_id: str) -> Response:
    return Response(BODIES[user_id], media_type="application/json")


def bare(_world: World) -> Row:
    async def hello() -> Response:
        return _answer(USER)

    return Row(protocol="ASGI", app=_site(hello), base=None, guards=False)


def security(world: World) -> Row:
    grants = world.grants
    scheme = HTTPBearer()

    async def user_of(
        asked: SecurityScopes, sent: Annotated[HTTPAuthorizationCredentials, Depends(scheme)]
    ) -> str:
        grant = grants.get(sent.credentials)
        if grant is None or grant.expires <= time.time():
            raise HTTPException(401)
        if not grant.scopes.issuperset(asked.scopes):
            raise HTTPException(403)
        return grant.user_id

    async def hello(user: Annotated[str, Security(user_of, scopes=NEEDED)]) -> Response:
        return _answer(user)

    return Row(protocol="ASGI", app=_site(hello), base=FASTAPI)


def door(world: World) -> Row:
    async def hello() -> Response:
        return _answer(current_token(required=True).user_id or "")

    app = FBTokenMiddleware(_site(hello), world.guard, policy=POLICY)
    return Row(protocol="ASGI", app=app, base=FASTAPI)


def dependency(world: World) -> Row:
    async def hello(token: Annotated[TokenInfo, Depends(FBToken(scopes=NEEDED))]) -> Response:
        return _answer(token.user_id or "")

    app = FBTokenMiddleware(_site(hello), world.guard, policy=None)
    return Row(protocol="ASGI", app=app, base=FASTAPI)


def door_and_dependency(world: World) -> Row:
    async def hello(token: Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]) -> Response:
        return _answer(token.user_id or "")

    app = FBTokenMiddleware(_site(hello), world.guard, policy=POLICY)
    return Row(protocol="ASGI", app=app, base=FASTAPI)


PEERS: Final = {
    FASTAPI: bare,
    "FastAPI fbguard": door,
    "FastAPI fbguard + FBToken": door_and_dependency,
    "FastAPI fbguard, FBToken alone": dependency,
    "FastAPI HTTPBearer + Security": security,
}
