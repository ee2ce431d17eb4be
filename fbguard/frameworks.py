"""Which framework serves the request of a view, among those that are loaded; imports none that is not."""

from __future__ import annotations

import sys
from typing import Any

from fbguard.context import LEFT, door_of
from fbguard.copies import carriers_among, is_asked_by
from fbguard.core.carrier import Carrier, carrier_of_request
from fbguard.entrance import is_loaded
from fbguard.heads import head_of
from fbguard.surroundings import Surroundings
from fbguard.view_request import GuardSource, named_guard


def surroundings_of(args: tuple[Any, ...], kwargs: dict[str, Any], given: GuardSource | None) -> Surroundings:
    """Find the framework that serves this request, among those that are loaded."""
    arguments, door = [*args, *kwargs.values()], carrier_of_request.get()
    # One framework may be mounted in another: what the view was given, or runs in, is nearest to it.
    found = _by_request(arguments, kwargs) or _by_context(arguments, door, given)
    if found is None and door is not None:
        carrier = _carrier_among(arguments, door, given)
        found = (_by_door(door) if carrier is door else None) or Surroundings(carrier)
    if found is None:
        raise RuntimeError(
            "require_fb_token found no request: put FBTokenMiddleware around the app, or give the view the "
            "request of its framework; and call it in the request's own context, not in a thread of your own"
        )
    return found


def _by_request(arguments: list[object], kwargs: dict[str, Any]) -> Surroundings | None:
    """Find it by the request that the view was given.

    Starlette last: what it has put into the scope also those have who are mounted in it.
    """
    found: Surroundings | None = None
    if "django" in sys.modules:
        from fbguard.integrations import django  # noqa: PLC0415

        found = django.surroundings_of(arguments)
    if found is None and is_loaded("falcon"):
        from fbguard.integrations import falcon  # noqa: PLC0415

        found = falcon.surroundings_of(arguments, kwargs)
    if found is None and is_loaded("litestar"):
        from fbguard.integrations import litestar  # noqa: PLC0415

        found = litestar.surroundings_of(None, arguments)
    if found is None and "starlette" in sys.modules:
        from fbguard.integrations import starlette  # noqa: PLC0415

        found = starlette.surroundings_of(None, arguments)
    return found


def _by_context(
    arguments: list[object], door: Carrier | None, given: GuardSource | None
) -> Surroundings | None:
    """Find it by what the framework itself says that it serves; a view of it may call another app."""
    found: Surroundings | None = None
    if is_loaded("quart") and next(carriers_among(arguments), None) is None:  # else an app of no framework
        from fbguard.integrations import quart  # noqa: PLC0415

        found = quart.surroundings_of(door)
    if found is None and "flask" in sys.modules:
        from fbguard.integrations import flask_views  # noqa: PLC0415

        found = flask_views.surroundings_of(door)
    if found is None:
        return None
    carrier = _carrier_among(arguments, found.carrier, given)
    return found if carrier is found.carrier else Surroundings(carrier)


def _by_door(door: Carrier) -> Surroundings | None:
    """Find it by what it has put into the door's scope: of two that are mounted, the inner has come later."""
    found: Surroundings | None = None
    if is_loaded("litestar"):
        from fbguard.integrations import litestar  # noqa: PLC0415

        found = litestar.surroundings_of(door, [])
    if found is None and "starlette" in sys.modules:
        from fbguard.integrations import starlette  # noqa: PLC0415

        found = starlette.surroundings_of(door, [])
    return found


def _carrier_among(arguments: list[object], door: Carrier, given: GuardSource | None) -> Carrier:
    """Return the door's carrier, or another one with another token: of what the app asks of itself."""
    for one in carriers_among(arguments):
        if one is door:
            continue
        guard = named_guard(given) or door_of(one) or door_of(door)
        if guard is None:
            continue
        if LEFT in one:
            if is_asked_by(door, one, guard):
                return one
        elif guard.sources.find(head_of(one)) != guard.sources.find(head_of(door)):
            one[LEFT] = (door_of(door), None, (), (), None)  # no copy, but one of the app's own
            return one
    return door
