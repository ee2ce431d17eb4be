"""The views of a Django project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from django.utils.module_loading import import_string

from fbguard.cli.coverage.templates import Segments, of_angles
from fbguard.cli.coverage.views import Place, View
from fbguard.integrations.django import FBTokenMiddleware, policy

_VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ANY: Final[Segments] = ((), True)


def views(_handler: BaseHandler, place: Place) -> Iterator[View]:
    """Give the views of the project that is configured, behind its middleware."""
    for name in settings.MIDDLEWARE:
        middleware: object = import_string(name)
        if isinstance(middleware, type) and issubclass(middleware, FBTokenMiddleware):
            place = place.behind(policy())
    yield from _of_patterns(get_resolver().url_patterns, place, "/", ())


def _of_patterns(
    patterns: list[URLPattern | URLResolver], place: Place, shown: str, segments: tuple[str | None, ...]
) -> Iterator[View]:
    for one in patterns:
        text = str(one.pattern)
        # A route may end in the middle of a segment, and a regular expression anywhere: then all may follow.
        own, rest = of_angles(text) if isinstance(one.pattern, RoutePattern) else _ANY
        is_whole = isinstance(one.pattern, RoutePattern) and (not text or text.endswith("/"))
        path = (*segments, *own)
        if isinstance(one, URLPattern):
            yield place.view(shown + text, path, one.callback, rest=rest, methods=_methods(one.callback))
        elif rest or not is_whole:
            yield from _anywhere(one, place, shown + text, path if rest else path[:-1])
        else:
            yield from _of_patterns(one.url_patterns, place, shown + text, path)


def _anywhere(
    resolver: URLResolver, place: Place, shown: str, segments: tuple[str | None, ...]
) -> Iterator[View]:
    """Give the views below a pattern of which only the beginning can be told."""
    for view in _of_patterns(resolver.url_patterns, place, shown, ()):
        yield View(view.shown, segments, True, view.methods, view.name, view.asks, view.doors)


def _methods(view: Any) -> tuple[str, ...] | None:
    owner = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if owner is None:
        return None
    return tuple(verb for verb in _VERBS if hasattr(owner, verb.lower())) or None
