"""Which views an app has: Starlette, FastAPI, Flask, Quart, Django, and what is mounted in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.cli.coverage.asking import asked_by_verb
from fbguard.cli.coverage.templates import of_braces
from fbguard.cli.coverage.views import VERBS, Place, View
from fbguard.core.requirement import Requirement
from fbguard.entrance import behind
from fbguard.login.rules import LoginRules
from fbguard.mounts import MountedASGI, MountedWSGI
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor

Views = Iterator[View]

_LOGIN: Final = "fbguard's login: who comes has no token yet"
_NO_REQUEST: Final = "takes no request, and no door is around: a RuntimeError at every call"
_CALLBACKS: Final = "fbguard's callbacks: they believe what is signed, and nobody brings a token"


def views_of(app: object, place: Place | None = None) -> Views:
    """Give the views of an app, in the order in which its router tries them."""
    place = place or Place()
    for one in behind(app):
        if isinstance(one, AsgiDoor | WsgiDoor):
            place = place.behind(one.policy)
            continue
        if isinstance(one, MountedASGI | MountedWSGI):
            yield _of_our_own(one, place)
            return
        walk = _walk_of(one)
        if walk is not None:
            inside = place.inside(one)
            if inside is not None:
                yield from walk(one, inside)
            return
        yield from mounts_of(one, place)
    yield place.view("/...", ((), True), app)


def _of_our_own(app: MountedASGI | MountedWSGI, place: Place) -> View:
    """Return the view of what a guard gives to be mounted, which is there for whoever has no token."""
    is_login = isinstance(getattr(app, "_rules", None), LoginRules)
    view = place.view("/...", ((), True), app)
    return replace(view, is_public=True, remarks=(_LOGIN if is_login else _CALLBACKS,))


def mounts_of(app: object, place: Place) -> Views:
    """Give the views of what werkzeug's DispatcherMiddleware has mounted, if the app is one."""
    mounts: object = getattr(app, "mounts", None)
    if isinstance(mounts, Mapping):
        for prefix, mounted in cast("Mapping[str, object]", mounts).items():
            yield from views_of(mounted, place.at(prefix, of_braces(prefix)[0]))


def _walk_of(app: object) -> Callable[[Any, Place], Views] | None:
    """Return what gives the views of this app itself, None for what only wraps another."""
    if "flask" in sys.modules:
        import flask  # noqa: PLC0415

        if isinstance(app, flask.Flask):
            from fbguard.cli.coverage.flask_views import views  # noqa: PLC0415

            return views
    if "quart" in sys.modules:
        import quart  # noqa: PLC0415

        if isinstance(app, quart.Quart):
            from fbguard.cli.coverage.flask_views import quart_views  # noqa: PLC0415

            return quart_views
    if "django" in sys.modules:
        from django.core.handlers.base import BaseHandler  # noqa: PLC0415

        if isinstance(app, BaseHandler):
            from fbguard.cli.coverage.django_views import views as django_views  # noqa: PLC0415

            return django_views
    return _routed if isinstance(getattr(app, "routes", None), list | tuple) else None


def _routed(app: Any, place: Place) -> Views:
    """Give the views of what has ``routes``: Starlette, FastAPI and their routers."""
    stack = getattr(app, "middleware_stack", None)
    build = getattr(app, "build_middleware_stack", None)
    if stack is None and build is not None:
        stack = build()  # as at its first request; and thrown away
    for one in behind(stack):
        if isinstance(one, AsgiDoor):
            place = place.behind(one.policy)
    overrides = getattr(app, "dependency_overrides", {})
    for route in app.routes:
        yield from _of_route(route, place, overrides)
    router = getattr(app, "router", app)
    default = getattr(router, "default", None)
    if default is not None and default != getattr(router, "not_found", None):
        yield from views_of(default, place)


def _of_route(route: Any, place: Place, overrides: Mapping[Any, Any]) -> Views:
    included = getattr(route, "effective_route_contexts", None)  # of newer FastAPI's include_router()
    if included is not None:
        for context in included():
            yield from _of_route(context.starlette_route or context, place, overrides)
        return
    path: str = getattr(route, "path", "")
    template = of_braces(path)
    endpoint = getattr(route, "endpoint", None)
    if endpoint is None:  # a Mount or a Host
        yield from views_of(getattr(route, "app", None), place.at(path, template[0], rest=template[1]))
        return
    for one in behind(getattr(route, "app", endpoint)):
        if isinstance(one, AsgiDoor):
            place = place.behind(one.policy)
    asks, methods = _depends(route, overrides), _methods(route)
    by_verb = asked_by_verb(endpoint if isinstance(endpoint, type) else None, methods or ())
    view = place.view(path, template, endpoint, methods=methods, asks=asks, by_verb=by_verb)
    fails = not place.doors and not view.rest and _lacks_request(route, view)
    yield replace(view, remarks=(_NO_REQUEST,)) if fails else view


def _methods(route: Any) -> tuple[str, ...] | None:
    named = getattr(route, "methods", None)
    if named:
        return tuple(
            sorted(named, key=lambda verb: (VERBS.index(verb) if verb in VERBS else len(VERBS), verb))
        )
    endpoint = route.endpoint
    if isinstance(endpoint, type):
        own = {verb for verb in VERBS if hasattr(endpoint, verb.lower())}
        own |= {"HEAD"} if "GET" in own else set()
        return tuple(filter(own.__contains__, VERBS)) or ("GET",)  # a WebSocketEndpoint
    return None if hasattr(route, "methods") else ("GET",)  # a WebSocket counts as GET


def _lacks_request(route: Any, view: View) -> bool:
    """Tell whether a decorated endpoint of FastAPI surely is called without what a request is found by."""
    dependant = getattr(route, "dependant", None)
    if dependant is None or view.asks.wrapper or not view.asks.requirements:
        return False
    names = ("request_param_name", "websocket_param_name", "http_connection_param_name")
    # What a dependency gives may hold the request, and FBToken has found it before.
    return not dependant.dependencies and not any(getattr(dependant, name, None) for name in names)


def _depends(route: Any, overrides: Mapping[Any, Any]) -> tuple[Requirement, ...]:
    """Return what the dependencies of a FastAPI route ask for."""
    dependant = getattr(route, "dependant", None)
    if dependant is None:
        return ()
    from fbguard.cli.coverage.fastapi_views import requirements_of  # noqa: PLC0415

    return tuple(requirements_of(dependant, overrides))
