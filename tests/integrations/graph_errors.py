"""The same views in every adapter: they let go what Graph told them. One way to send them requests.

``/x`` needs the scope ``email``, ``/public`` nothing, ``/optional`` takes nobody too; ``/stream`` sends
a chunk before it acts, ``/late`` acts before its first chunk, ``/task`` after its answer.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path as django_path
from django.urls import set_script_prefix
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import StreamingResponse
from flask import Flask, Response
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fbguard import (
    GraphAuth,
    Guard,
    OAuthException,
    Policy,
    Requirement,
    Rule,
    asgi,
    raise_for_graph_error,
    require_fb_token,
    wsgi,
)
from fbguard.integrations.fastapi import FBRoute, FBToken, OptionalFBToken
from fbguard.integrations.flask import FBGuard
from fbguard.integrations.starlette import EXCEPTION_HANDLERS, FBAuthBackend
from fbguard.sandbox import Sandbox
from tests.integrations.django_site import GUARDING
from tests.support import TOKEN, Answer, Headers, Server, http_scope, wsgi_environ

POLICY = Policy(
    Rule("/public", public=True),
    Rule("/optional", optional=True),
    default=Requirement(scopes=["email"]),
)
HEADERS = [("Content-Type", "text/plain")]


@dataclass
class Outcome(Answer):
    """What the server saw: an answer, an exception, or both."""

    error: Exception | None = None
    starts: int = 0  # answers that were begun
    ended: bool = False  # the body came to its end


class Body:
    """A streamed body that acts when ``before`` is out."""

    def __init__(self, views: Views, before: tuple[bytes, ...]) -> None:
        self._views = views
        self._chunks = self._run(before)

    def _run(self, before: tuple[bytes, ...]) -> Iterator[bytes]:
        yield from before
        self._views.run()
        yield b"two"

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._views.closed += 1


@dataclass
class Views:
    """What every view does: ``act``, which may be async where the view is."""

    options: Mapping[str, Any]  # of the guard
    stack: ExitStack
    act: Callable[[], object] = int
    request: Any = None  # of Starlette, the last
    closed: int = 0  # streamed bodies

    def run(self) -> None:
        self.act()

    async def arun(self) -> None:
        said = self.act()
        if inspect.isawaitable(said):
            await said

    def chunks(self, *before: bytes) -> Body:
        return Body(self, before)

    async def achunks(self, *before: bytes) -> AsyncIterator[bytes]:
        for chunk in before:
            yield chunk
        await self.arun()
        yield b"two"


Wrap = Callable[[str, Any], Any]
PATHS = ("/x", "/public", "/optional", "/stream", "/late", "/task")


def _as_is(path: str, view: Any) -> Any:
    return view


def _decorated(guard: Guard | None = None) -> Wrap:
    def wrap(path: str, view: Any) -> Any:
        if path == "/public":
            return view
        options: Any = {"optional": True} if path == "/optional" else {"scopes": ["email"]}
        return require_fb_token(guard=guard, **options)(view)

    return wrap


# -- plain apps ------------------------------------------------------------------------------------------


def _plain_asgi(views: Views, guard: Guard) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        if scope["path"] in {"/stream", "/late", "/task"}:
            first = [b"one"] if scope["path"] == "/stream" else []
            await send(start)
            async for chunk in views.achunks(*first):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await views.arun()
            await send(start)
            await send({"type": "http.response.body", "body": b"hello"})

    return asgi.FBTokenMiddleware(app, guard, policy=POLICY)


def _plain_wsgi(views: Views, guard: Guard) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] in {"/stream", "/late"}:
            start_response("200 OK", list(HEADERS))
            return views.chunks(*([b"one"] if environ["PATH_INFO"] == "/stream" else []))
        views.run()
        start_response("200 OK", list(HEADERS))
        return [b"hello"]

    return wsgi.FBTokenMiddleware(app, guard, policy=POLICY)


# -- Starlette and FastAPI ---------------------------------------------------------------------------------


def _asgi_views(views: Views, is_async: bool) -> dict[str, Any]:
    async def aview(request: Request) -> Any:
        views.request = request
        await views.arun()
        return PlainTextResponse("hello")

    def view(request: Request) -> Any:
        views.request = request
        views.run()
        return PlainTextResponse("hello")

    async def astream(request: Request) -> Any:
        return StreamingResponse(views.achunks(b"one"), headers=dict(HEADERS))

    def stream(request: Request) -> Any:
        return StreamingResponse(views.chunks(b"one"), headers=dict(HEADERS))

    async def task(request: Request) -> Any:
        return PlainTextResponse("hello", background=BackgroundTask(views.arun if is_async else views.run))

    plain, streaming = (aview, astream) if is_async else (view, stream)
    return {
        "/x": plain,
        "/public": plain,
        "/optional": plain,
        "/stream": streaming,
        "/late": streaming,
        "/task": task,
    }


class Copying:
    """Middleware that gives the app a scope of its own, which ASGI allows."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


def starlette(place: str, is_async: bool, **options: Any) -> Callable[[Views, Guard], Any]:
    def make(views: Views, guard: Guard) -> Any:
        inside: list[Any] = []
        wrap: Wrap = _as_is
        if place in {"inside", "inside, copy"}:
            wrap = _decorated() if place == "inside, copy" else _as_is
            policy = None if place == "inside, copy" else POLICY
            inside = [Middleware(asgi.FBTokenMiddleware, guard, policy=policy)]
        elif place == "backend":
            backend = FBAuthBackend(guard, Requirement(optional=True, scopes=["email"]))
            on_error = FBAuthBackend.on_error
            inside = [Middleware(AuthenticationMiddleware, backend=backend, on_error=on_error)]
            options["exception_handlers"] = {**EXCEPTION_HANDLERS, **options.get("exception_handlers", {})}
        elif place != "around":
            wrap = _decorated(guard if place == "guard=" else None)
        if "copy" in place:
            inside.append(Middleware(Copying))
        routes = [Route(path, wrap(path, view)) for path, view in _asgi_views(views, is_async).items()]
        app = Starlette(routes=routes, middleware=inside, **options)
        if place == "state":
            app.state.fbguard = guard
        if place.startswith("around"):
            around = Copying(app) if place == "around, copy" else app
            return asgi.FBTokenMiddleware(around, guard, policy=POLICY if place == "around" else None)
        return app

    return make


def fastapi(place: str, is_async: bool, **options: Any) -> Callable[[Views, Guard], Any]:
    def make(views: Views, guard: Guard) -> Any:
        app = FastAPI(**options)
        router = APIRouter(route_class=FBRoute) if place == "FBRoute" else APIRouter()
        given = guard if place == "guard=" else None
        for path, view in _asgi_views(views, is_async).items():
            needed: list[Any] = []
            if place == "decorator":
                view = _decorated()(path, view)  # noqa: PLW2901
            elif place != "around" and path != "/public":
                made = (
                    OptionalFBToken(guard=given)
                    if path == "/optional"
                    else FBToken(scopes=["email"], guard=given)
                )
                needed = [Depends(made)]
            router.add_api_route(path, view, dependencies=needed)
        app.include_router(router)
        if place == "inside":
            app.add_middleware(asgi.FBTokenMiddleware, guard=guard, policy=None)  # type: ignore[arg-type]
        elif place == "around":
            return asgi.FBTokenMiddleware(app, guard, policy=POLICY)
        else:
            app.state.fbguard = guard
        return app

    return make


# -- Flask and Django --------------------------------------------------------------------------------------


def flask_app(place: str, app: Flask, guard: Guard, *, policy: Policy | None = POLICY) -> Any:
    """Put the guard somewhere; return what a server calls."""
    if place == "FBGuard":
        FBGuard(app, guard, policy=policy)
    elif place == "wsgi_app":
        app.wsgi_app = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=policy)  # type: ignore[method-assign]
    elif place == "around":
        return wsgi.FBTokenMiddleware(app, guard, policy=policy)
    else:
        app.extensions["fbguard"] = guard
    return app


def _flask(place: str, is_async: bool, *, decorated: bool = False) -> Callable[[Views, Guard], Any]:
    def make(views: Views, guard: Guard) -> Any:
        app = Flask("site")

        def view() -> str:
            views.run()
            return "hello"

        async def aview() -> str:
            await views.arun()
            return "hello"

        def stream() -> Response:
            return Response(views.chunks(b"one"))

        async def astream() -> Response:
            return Response(views.chunks(b"one"))

        def late() -> Any:
            return Response(views.chunks())

        plain, streaming = (aview, astream) if is_async else (view, stream)
        wrap = _decorated() if decorated or place == "extensions" else _as_is
        for path, one in zip(PATHS, (plain, plain, plain, streaming, late), strict=False):
            app.add_url_rule(path, path[1:], wrap(path, one))
        return flask_app(place, app, guard, policy=None if decorated else POLICY)

    return make


def _django(server: str, place: str, is_async: bool) -> Callable[[Views, Guard], Any]:
    def make(views: Views, guard: Guard) -> Any:
        def chunks(*before: bytes) -> Any:
            return views.chunks(*before) if server == "wsgi" else views.achunks(*before)

        def view(request: Any) -> HttpResponse:
            views.run()
            return HttpResponse("hello")

        async def aview(request: Any) -> HttpResponse:
            await views.arun()
            return HttpResponse("hello")

        def stream(request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(chunks(b"one"))

        async def astream(request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(chunks(b"one"))

        def late(request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(chunks())

        plain, streaming = (aview, astream) if is_async else (view, stream)
        wrap = _as_is if place == "middleware" else _decorated()
        module: Any = ModuleType("tests.urls_of_graph_errors")
        module.urlpatterns = [
            django_path(path[1:], wrap(path, one))
            for path, one in zip(PATHS, (plain, plain, plain, streaming, late), strict=False)
        ]
        policy = POLICY if place == "middleware" else None
        settings = override_settings(
            ROOT_URLCONF=module,
            MIDDLEWARE=[] if place == "decorator" else [GUARDING],
            FBGUARD={**views.options, "policy": policy},
        )
        views.stack.enter_context(settings)
        return WSGIHandler() if server == "wsgi" else ASGIHandler()

    return make


def _both(name: str, make: Callable[..., Any], *given: Any, **more: Any) -> dict[str, Any]:
    return {
        f"{name}-sync": make(*given, False, **more),
        f"{name}-async": make(*given, True, **more),
    }


STARLETTE = ("inside", "inside, copy", "around", "around, copy", "guard=", "state", "backend")
FASTAPI = ("Depends", "guard=", "inside", "around", "FBRoute", "decorator")
FLASK = ("FBGuard", "wsgi_app", "around", "extensions")
DJANGO = ("middleware", "middleware, decorator", "decorator")


def _all() -> dict[str, Callable[[Views, Guard], Any]]:
    found: dict[str, Any] = {"asgi": _plain_asgi, "wsgi": _plain_wsgi}
    for place in STARLETTE:
        found |= _both(f"starlette {place}", starlette, place)
    for place in FASTAPI:
        found |= _both(f"fastapi {place}", fastapi, place)
    for place in FLASK:
        found |= _both(f"flask {place}", _flask, place)
    found |= _both("flask FBGuard, decorator", _flask, "FBGuard", decorated=True)
    for server in ("wsgi", "asgi"):
        for place in DJANGO:
            found |= _both(f"django-{server} {place}", _django, server, place)
    return found


ADAPTERS = _all()


def is_asgi(name: str) -> bool:
    return not name.startswith(("wsgi", "flask", "django-wsgi"))


def is_async(name: str) -> bool:
    return name == "asgi" or name.endswith("-async")


class Site:
    """One adapter with its views, and the server that it talks to."""

    def __init__(self, name: str, app: Any, views: Views, runner: asyncio.Runner | None) -> None:
        self.name = name
        self.app = app
        self.views = views
        self._runner = runner

    def send(
        self,
        token: str | None = None,
        path: str = "/x",
        *,
        act: Callable[[], object] = int,
        headers: Headers = (),
    ) -> Outcome:
        """Send one request whose view does ``act``; what the app raises comes back in the outcome."""
        self.views.act = act
        sent = [*headers] if token is None else [("Authorization", f"Bearer {token}"), *headers]
        try:
            if self._runner is not None:
                return self._runner.run(send_asgi(self.app, http_scope(path, headers=sent)))
            return send_wsgi(self.app, wsgi_environ(path, headers=sent))
        finally:
            set_script_prefix("/")  # of Django

    def raises(self, error: Exception, token: str = TOKEN, path: str = "/x", **more: Any) -> Outcome:
        """Send one request whose view raises ``error``."""

        def act() -> None:
            raise error

        return self.send(token, path, act=act, **more)

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop that serves an ASGI app."""
        assert self._runner is not None
        self._runner.run(what)


async def send_asgi(app: Any, scope: dict[str, Any]) -> Outcome:
    outcome = Outcome(0, [], b"")
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else await asyncio.Future()

    async def send(message: Any) -> None:
        outcome.messages.append(dict(message))
        if message["type"] == "http.response.start":
            outcome.starts += 1
            outcome.status = message["status"]
            pairs = message.get("headers", ())
            outcome.headers = [(name.decode().lower(), value.decode()) for name, value in pairs]
        elif message["type"] == "http.response.body":
            assert not outcome.ended, "a body after its end"
            outcome.body += message.get("body", b"")
            outcome.ended = not message.get("more_body", False)

    try:
        await app(scope, receive, send)
    except Exception as error:
        outcome.error = error
    return outcome


def send_wsgi(app: Any, environ: dict[str, Any]) -> Outcome:
    server, outcome = Server(), Outcome(0, [], b"")
    try:
        answer = server.serve(app, environ)
    except Exception as error:
        outcome.error = error
        if server.started:
            answer = server.answer()
            outcome.status, outcome.headers, outcome.body = answer.status, answer.headers, answer.body
    else:
        outcome = Outcome(answer.status, answer.headers, answer.body, ended=True)
    outcome.starts = 1 if server.headers_sent or outcome.ended else 0
    return outcome


@contextmanager
def served(
    name: str, options: Mapping[str, Any], make: Callable[[Views, Guard], Any] | None = None
) -> Iterator[Site]:
    """Serve the views in an adapter; ``options`` are the guard's."""
    with ExitStack() as stack:
        views = Views(options, stack)
        guard = stack.enter_context(Guard(**options))
        app = (make or ADAPTERS[name])(views, guard)
        runner = stack.enter_context(asyncio.Runner()) if is_asgi(name) else None
        yield Site(name, app, views, runner)


def is_the_apps_own(outcome: Outcome) -> bool:
    """Tell whether an exception of the app came out as any other does: to the server, or as a 500."""
    if outcome.error is not None:
        return isinstance(outcome.error, OAuthException) and outcome.status in {0, 500}
    return outcome.status == 500 and outcome.header("content-type") != "application/problem+json"


def call_me(
    sandbox: Sandbox, site: Site, access_token: str | None = None, **auth: Any
) -> Callable[[], object]:
    """Return what asks Graph who this is, as a view does that lets go what Graph said."""
    url = "https://graph.facebook.com/v26.0/me"
    if access_token is not None:
        url = f"{url}?access_token={access_token}"

    def as_user() -> GraphAuth:
        # Starlette's AuthenticationMiddleware lets a backend tell no one what is being served.
        return GraphAuth(site.views.request if "backend" in site.name else None, **auth)

    def act() -> None:
        with httpx.Client(transport=sandbox.transport) as client:
            raise_for_graph_error(client.get(url, auth=as_user()))

    async def aact() -> None:
        async with httpx.AsyncClient(transport=sandbox.transport) as client:
            raise_for_graph_error(await client.get(url, auth=as_user()))

    return aact if is_async(site.name) else act
