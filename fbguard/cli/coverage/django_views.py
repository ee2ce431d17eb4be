"""The views of a Django project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from django.utils.module_loading import import_string
from django.views import View as DjangoView

from fbguard.cli.coverage.asking import asked_by_verb
from fbguard.cli.coverage.templates import Template, of_angles
from fbguard.cli.coverage.views import VERBS, Place, View
from fbguard.cli.coverage.wrappers import owner_of
from fbguard.integrations.django import FBTokenMiddleware, policy


def views(_handler: BaseHandler, place: Place) -> Iterator[View]:
    """Give the views of the project that is configured, behind its middleware."""
    for name in settings.MIDDLEWARE:
        middleware: object = import_string(name)
        if isinstance(middleware, type) and issubclass(middleware, FBTokenMiddleware):
            place = place.behind(policy())
    yield from _of_patterns(get_resolver().url_patterns, place, "/")


def _of_patterns(patterns: Sequence[URLPattern | URLResolver], place: Place, before: str) -> Iterator[View]:
    for one in patterns:
        text = str(one.pattern)
        template = _template(one)
        if isinstance(one, URLPattern):
            methods = _methods(one.callback)
            by_verb = asked_by_verb(owner_of(one.callback), methods or ())
            yield place.view(before + text, template, one.callback, methods=methods, by_verb=by_verb)
        else:
            below = place.at(before + text, template[0], rest=template[1])
            yield from _of_patterns(one.url_patterns, below, "")


def _template(one: URLPattern | URLResolver) -> Template:
    """Read a pattern. Of a regular expression nobody can tell what it matches."""
    if not isinstance(one.pattern, RoutePattern):
        return (), True
    text = str(one.pattern)
    segments, rest = of_angles(text)
    # What is included below a route that ends in the middle of a segment continues that segment.
    if isinstance(one, URLResolver) and text and not text.endswith("/") and not rest:
        return segments[:-1], True
    return segments, rest


def _methods(view: Any) -> tuple[str, ...] | None:
    owner = owner_of(view)
    if owner is None:
        return None
    own = {verb for verb in VERBS if hasattr(owner, verb.lower())}
    own |= {"HEAD"} if "GET" in own else set()
    if getattr(owner, "options", None) is DjangoView.options:
        own.discard("OPTIONS")  # which Django answers itself
    return tuple(filter(own.__contains__, VERBS)) or None
