"""A FastAPI API whose routes say themselves which Facebook token they need.

Try it against a local Facebook. In one terminal::

    fbguard sandbox

In another, with the ``export`` lines that it prints::

    uvicorn examples.fastapi_app:app

One of them is ``TOKEN``, a token that the sandbox has issued; then::

    curl -i http://127.0.0.1:8000/me -H "Authorization: Bearer $TOKEN"
(/docs shows the scopes of each route.)
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI

from fbguard import Guard, TokenInfo
from fbguard.integrations.fastapi import REFUSALS, FBToken

AnyUser = Annotated[TokenInfo, Depends(FBToken())]
Emailed = Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with Guard.from_env() as guard:  # closed at the end
        app.state.fbguard = guard
        yield


app = FastAPI(lifespan=lifespan, responses=REFUSALS)
pages = APIRouter(
    prefix="/pages/{page_id}",
    dependencies=[Depends(FBToken(scopes=["pages_manage_posts"], target="page_id"))],
)


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ok": True}


@app.get("/me")
async def me(token: AnyUser) -> dict[str, object]:
    return {"user": token.user_id, "scopes": sorted(token.scopes)}


@app.post("/newsletter")
def newsletter(token: Emailed) -> dict[str, object]:
    return {"subscribed": token.user_id}


@pages.get("/posts")
async def posts(page_id: int) -> dict[str, object]:
    return {"page": str(page_id), "posts": []}


app.include_router(pages)
