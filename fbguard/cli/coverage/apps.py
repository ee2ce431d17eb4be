"""Which views an app has: Starlette, FastAPI, Flask, Django, and what is mounted in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.cli.coverage.templates import of_braces
from fbguard.cli.coverage.views import Place, View
from fbguard.core.requirement import Requirement
from fbguard.entrance import behind
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor

_VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Views = Iterator[View]


def views_of(app: object, place: Place | None = None) -> Views:
    """Give the views of an app, in the order in which its router tries them."""
    place = place or Place()
    for one in behind(app):
        if isinstance(one, AsgiDoor | WsgiDoor):
            place = place.behind(one.policy)
            continue
        walk = _walk_of(one)
        if walk is not None:
            yield from walk(one, place)
            return
        for prefix, mounted in _mounts_of(one).items():
            yield from views_of(mounted, place.at(prefix, of_braces(prefix)[0]))
    yield place.view("/...", (), app, rest=True)


def _walk_of(app: object) -> Callable[[Any, Place], Views] | None:
    """Return what gives the views of this app itself, None for what only wraps another."""
    if "flask" in sys.modules:
        import flask  # noqa: PLC0415

        if isinstance(app, flask.Flask):
            from fbguard.cli.coverage.flask_views import views  # noqa: PLC0415

            return views
    if "django" in sys.modules:
        from django.core.handlers.base import BaseHandler  # noqa: PLC0415

        if isinstance(app, BaseHandler):
            from fbguard.cli.coverage.django_views import views as django_views  # noqa: PLC0415

            return django_views
    return _routed if isinstance(getattr(app, "routes", None), list | tuple) else None


def _mounts_of(app: object) -> Mapping[str, object]:
    """Return what werkzeug's DispatcherMiddleware has mounted, by prefix."""
    mounts: object = getattr(app, "mounts", None)
    return cast("Mapping[str, object]", mounts) if isinstance(mounts, Mapping) else {}


def _routed(app: Any, place: Place) -> Views:
    """Give the views of what has ``routes``: Starlette, FastAPI and their routers."""
    build = getattr(app, "build_middleware_stack", None)
    if build is not None:  # as at its first request; and thrown away
        for one in behind(build()):
            if isinstance(one, AsgiDoor):
                place = place.behind(one.policy)
    for route in app.routes:
        yield from _of_route(route, place)


def _of_route(route: Any, place: Place) -> Views:
    included = getattr(route, "effective_route_contexts", None)  # of newer FastAPI's include_router()
    if included is not None:
        for context in included():
            yield from _of_route(context.starlette_route or context, place)
        return
    path: str = getattr(route, "path", "")
    segments, rest = of_braces(path)
    endpoint = getattr(route, "endpoint", None)
    if endpoint is None:  # a Mount or a Host
        yield from views_of(getattr(route, "app", None), place.at(path, segments))
        return
    for one in behind(endpoint):
        if isinstance(one, AsgiDoor):
            place = place.behind(one.policy)
    yield place.view(path, segments, endpoint, rest=rest, methods=_methods(route), asks=_depends(route))


def _methods(route: Any) -> tuple[str, ...] | None:
    named = getattr(route, "methods", None)
    if named:
        return tuple(verb for verb in _VERBS if verb in named and (verb != "HEAD" or "GET" not in named))
    endpoint = route.endpoint
    if isinstance(endpoint, type):
        own = tuple(verb for verb in _VERBS if hasattr(endpoint, verb.lower()))
        return own or ("GET",)  # a WebSocketEndpoint
    return None if hasattr(route, "methods") else ("GET",)  # a WebSocket counts as GET


def _depends(route: Any) -> tuple[Requirement, ...]:
    """Return what the dependencies of a FastAPI route ask for."""
    if getattr(route, "dependant", None) is None:
        return ()
    from fbguard.integrations.fastapi import requirements_of  # noqa: PLC0415

    return requirements_of(route.dependant)
