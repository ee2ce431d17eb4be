"""A view as the audit of routes knows it, and what its decorators and dependencies ask for."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, cast

from fbguard.core.policy import Policy
from fbguard.core.requirement import Requirement
from fbguard.decorator import ASKS

_DISPATCH: Final = ("dispatch_request", "dispatch")
_CLASSES: Final = ("view_class", "cls")  # of what as_view() returns; the second is Django REST framework's


@dataclass(frozen=True, slots=True)
class Door:
    """A door on the way to a view: its policy, and how many segments of the path are the mount's."""

    policy: Policy | None
    below: int


@dataclass(frozen=True, slots=True)
class View:
    """A view at a path.

    ``shown`` is the path as its framework writes it; ``segments`` are its literal segments, None for
    those that vary; with ``rest`` any number of segments may follow. ``methods`` None is every verb.
    """

    shown: str
    segments: tuple[str | None, ...]
    rest: bool
    methods: tuple[str, ...] | None
    name: str
    asks: tuple[Requirement, ...]
    doors: tuple[Door, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app stands: the path in front of it, and the doors on the way."""

    shown: str = ""
    segments: tuple[str | None, ...] = ()
    doors: tuple[Door, ...] = ()

    def behind(self, policy: Policy | None) -> Place:
        """Return the same place behind one more door."""
        return replace(self, doors=(*self.doors, Door(policy, len(self.segments))))

    def at(self, shown: str, segments: tuple[str | None, ...]) -> Place:
        """Return a place below this one."""
        return replace(self, shown=self.shown + shown, segments=self.segments + segments)

    def view(
        self,
        shown: str,
        segments: tuple[str | None, ...],
        view: object,
        *,
        rest: bool = False,
        methods: tuple[str, ...] | None = None,
        asks: tuple[Requirement, ...] = (),
    ) -> View:
        """Return a view here; ``asks`` is what is asked for besides its decorators."""
        place = self.at(shown, segments)
        asked = (*asks, *asked_by(view))
        return View(place.shown or "/", place.segments, rest, methods, named(view), asked, self.doors)


def asked_by(view: object) -> tuple[Requirement, ...]:
    """Return what the decorators of a view ask for."""
    for one in _layers(view):
        found: object = getattr(one, ASKS, None)
        if isinstance(found, tuple):
            return cast("tuple[Requirement, ...]", found)
    return ()


def named(view: object) -> str:
    """Return where a view is written: ``module.name``."""
    while isinstance(view, functools.partial):
        view = view.func
    view = next((getattr(view, name) for name in _CLASSES if hasattr(view, name)), view)
    if not hasattr(view, "__qualname__"):
        view = type(view)
    return f"{getattr(view, '__module__', '?')}.{getattr(view, '__qualname__', '?')}"


def _layers(view: object) -> Iterator[object]:
    """Give a view, and what it is made of, from outside in."""
    while isinstance(view, functools.partial):
        yield view
        view = view.func
    yield view
    for name in _CLASSES:
        owner = getattr(view, name, None)
        if isinstance(owner, type):
            view = owner
            break
    for name in _DISPATCH:
        yield getattr(view, name, None)
