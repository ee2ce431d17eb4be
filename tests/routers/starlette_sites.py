"""Starlette's router behind the ASGI door."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route

from fbguard import Guard
from fbguard.asgi import FBTokenMiddleware
from tests.routers.views import POLICY, of_any, of_hook, ran


def _view(name: str) -> Any:
    async def view(request: Request) -> PlainTextResponse:
        ran(name)
        return PlainTextResponse(f"body of {name}")

    return view


class _Any:
    """An ASGI app as an endpoint: Starlette lets every verb in."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        ran(of_any(scope["method"]))
        await PlainTextResponse("body of any")(scope, receive, send)


class _Hook(HTTPEndpoint):
    """Starlette finds the method of the class by the verb in lower case, however it was sent."""

    async def get(self, request: Request) -> PlainTextResponse:
        ran(of_hook("GET"))
        return PlainTextResponse("body of hook")

    async def post(self, request: Request) -> PlainTextResponse:
        ran(of_hook("POST"))
        return PlainTextResponse("body of hook")


def routes() -> list[BaseRoute]:
    return [
        Route("/", _view("home")),
        Route("/admin", _view("admin")),
        Route("/admin/users", _view("users")),
        Route("/health", _view("health")),
        Route("/healthz-admin", _view("healthz")),
        Route("/items/new", _view("new_item")),
        Route("/items/{id:int}", _view("item")),
        Route("/pages/{page_id}/posts", _view("posts")),
        Route("/public/secret", _view("secret")),
        Route("/public/{rest:path}", _view("public")),
        Route("/files/{rest:path}", _view("files")),
        Route("/notes", _view("read_notes")),
        Route("/notes", _view("add_note"), methods=["POST"]),
        Route("/notes", _view("drop_notes"), methods=["DELETE"]),
        Route("/any", _Any()),
        Route("/hook", _Hook),
        Route("/shop", _view("shop")),
        Mount(
            "/shop",
            routes=[
                Route("/", _view("shop")),
                Mount("/orders", routes=[Route("/{number:int}", _view("order"))]),
            ],
        ),
        Mount("/t/{tenant}", app=Starlette(routes=[Route("/info", _view("tenant"))])),
        Route("/münchen", _view("munich")),
        Route("/a b", _view("blank")),
        Route("/{slug}", _view("slug")),
    ]


def redirecting(guard: Guard) -> Any:
    return FBTokenMiddleware(Starlette(routes=routes()), guard, policy=POLICY)


def not_redirecting(guard: Guard) -> Any:
    app = Starlette(routes=routes())
    app.router.redirect_slashes = False
    return FBTokenMiddleware(app, guard, policy=POLICY)


def inside_the_stack(guard: Guard) -> Any:
    app = Starlette(routes=routes())
    app.add_middleware(FBTokenMiddleware, guard=guard, policy=POLICY)
    return app


def below_a_mount(guard: Guard) -> Any:
    return Starlette(routes=[Mount("/app", app=redirecting(guard))])


def below_a_mount_with_a_parameter(guard: Guard) -> Any:
    return Starlette(routes=[Mount("/in/{place}", app=not_redirecting(guard))])
