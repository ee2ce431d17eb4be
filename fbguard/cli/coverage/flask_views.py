"""The views of a Flask app, and of a Quart app, which is alike but for its door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.cli.coverage.apps import mounts_of
from fbguard.cli.coverage.asking import asked_by_verb
from fbguard.cli.coverage.templates import of_angles
from fbguard.cli.coverage.views import VERBS, Place, View
from fbguard.cli.coverage.wrappers import owner_of
from fbguard.entrance import behind
from fbguard.integrations.flask import policy_of
from fbguard.wsgi import FBTokenMiddleware

if TYPE_CHECKING:
    import flask


def views(app: flask.Flask, place: Place) -> Iterator[View]:
    """Give the views of an app, behind the doors around it and its FBGuard, and what stands beside them."""
    for one in behind(app.wsgi_app):
        if isinstance(one, FBTokenMiddleware):
            place = place.behind(one.policy)
        yield from mounts_of(one, place)
    yield from _routed(app, place.behind(policy_of(app)))


def quart_views(app: Any, place: Place) -> Iterator[View]:
    """Give the views of a Quart app, behind the doors around it; a WebSocket counts as GET."""
    for one in behind(app.asgi_app):
        if isinstance(one, AsgiDoor):
            place = place.behind(one.policy)
    yield from _routed(app, place)


def _routed(app: Any, place: Place) -> Iterator[View]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        if view is None or rule.build_only:
            continue  # a name for addresses, or a 404
        methods = ("GET",) if rule.websocket else _methods(rule)
        by_verb = asked_by_verb(owner_of(view), methods or ())
        yield place.view(rule.rule, of_angles(rule.rule), view, methods=methods, by_verb=by_verb)


def _methods(rule: Any) -> tuple[str, ...] | None:
    """Return a rule's verbs, without an OPTIONS that Flask answers itself."""
    verbs: set[str] = set(rule.methods or ())
    if getattr(rule, "provide_automatic_options", False):
        verbs.discard("OPTIONS")
    return tuple(verb for verb in (*VERBS, *sorted(verbs.difference(VERBS))) if verb in verbs) or None
