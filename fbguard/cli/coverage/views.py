"""A view as the audit of routes knows it, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from fbguard.cli.coverage.asking import Asked, asked_by, named
from fbguard.cli.coverage.templates import Segments, Template
from fbguard.core.policy import Policy
from fbguard.core.requirement import Requirement

VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Door:
    """A door on the way to a view: its policy, and how many segments of the path are the mount's."""

    policy: Policy | None
    below: int


@dataclass(frozen=True, slots=True)
class View:
    """A view at a path.

    ``shown`` is the path as its framework writes it; with ``rest`` any number of segments may follow
    ``segments``. ``methods`` None is every verb. ``asks`` is what is asked for whatever the verb, ``by_verb``
    what the method of one verb asks for besides. ``is_public`` tells what is meant for everybody without a
    rule that says so; ``remarks`` are what else there is to say of it.
    """

    shown: str
    segments: Segments
    rest: bool
    methods: tuple[str, ...] | None
    name: str
    asks: Asked
    by_verb: Mapping[str, Asked]
    doors: tuple[Door, ...]
    is_public: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app stands: the path in front of it, and the doors on the way.

    With ``rest`` nobody can tell what the path is from there on; ``apps`` are those on the way.
    """

    shown: str = ""
    segments: Segments = ()
    rest: bool = False
    doors: tuple[Door, ...] = ()
    apps: tuple[object, ...] = field(default=(), repr=False)

    def behind(self, policy: Policy | None) -> Place:
        """Return the same place behind one more door.

        Where nobody can tell which path a door sees, it counts as none: a guarded view may show as open.
        """
        if self.rest:
            return self
        return replace(self, doors=(*self.doors, Door(policy, len(self.segments))))

    def at(self, shown: str, segments: Segments, *, rest: bool = False) -> Place:
        """Return a place below this one."""
        segments = self.segments if self.rest else self.segments + segments
        return replace(self, shown=self.shown + shown, segments=segments, rest=self.rest or rest)

    def inside(self, app: object) -> Place | None:
        """Return the same place in an app; None if it is in there already: it is mounted in itself."""
        if any(app is one for one in self.apps):
            return None
        return replace(self, apps=(*self.apps, app))

    def view(
        self,
        shown: str,
        path: Template,
        view: object,
        *,
        methods: tuple[str, ...] | None = None,
        asks: tuple[Requirement, ...] = (),
        by_verb: Mapping[str, Asked] | None = None,
    ) -> View:
        """Return a view here; ``asks`` is what is asked for besides its decorators."""
        segments, rest = path
        place = self.at(shown, segments, rest=rest)
        asked = asked_by(view)
        return View(
            place.shown or "/", place.segments, place.rest, methods, named(view),
            Asked((*asks, *asked.requirements), asked.wrapper), by_verb or {}, self.doors,
        )  # fmt: skip
