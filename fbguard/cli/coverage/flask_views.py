"""The views of a Flask app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask

from fbguard.cli.coverage.templates import of_angles
from fbguard.cli.coverage.views import Place, View
from fbguard.entrance import behind
from fbguard.integrations.flask import policy_of
from fbguard.wsgi import FBTokenMiddleware

_BY_ITSELF = frozenset({"HEAD", "OPTIONS"})  # what Flask answers without the view, or by its GET


def views(app: flask.Flask, place: Place) -> Iterator[View]:
    """Give the views of an app, behind the doors around it and its FBGuard."""
    for one in behind(app.wsgi_app):
        if isinstance(one, FBTokenMiddleware):
            place = place.behind(one.policy)
    place = place.behind(policy_of(app))
    rule: Any
    for rule in app.url_map.iter_rules():
        segments, rest = of_angles(rule.rule)
        verbs: frozenset[str] = frozenset(rule.methods or ()) - _BY_ITSELF
        methods = tuple(sorted(verbs)) or None
        yield place.view(rule.rule, segments, app.view_functions[rule.endpoint], rest=rest, methods=methods)
