"""A request at a view that has a requirement of its own: which guard judges there, and its judgement."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from fbguard.claims import Claims, make_live, watch_for
from fbguard.context import (
    TOKEN,
    asked_of,
    demands_of,
    door_of,
    judge_of,
    left_in,
    note_judged_by,
    with_demands,
)
from fbguard.copies import is_asked_by
from fbguard.core.carrier import carrier_of_request, entered
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import Requirement, could_only_loosen
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard
from fbguard.heads import head_of
from fbguard.reports import refusal_of
from fbguard.surroundings import Surroundings

GuardSource = Guard | Callable[[], Guard]


def check_source(guard: object) -> GuardSource | None:
    """Return the ``guard`` option of a view, or raise TypeError for what is none."""
    if guard is None or isinstance(guard, Guard):
        return guard
    if not callable(guard) or isinstance(guard, type):
        raise TypeError("guard must be a Guard or a callable that returns one")
    return cast("Callable[[], Guard]", guard)


def named_guard(given: GuardSource | None) -> Guard | None:
    """Return the guard that a view names, None if it names none; raises RuntimeError for what is no guard."""
    if given is None or isinstance(given, Guard):
        return given
    if isinstance(named := given(), Guard):  # pyright: ignore[reportUnnecessaryIsInstance]
        return named
    raise RuntimeError("the callable given as guard= returned no Guard")


def _wants_news(requirement: Requirement, info: TokenInfo) -> bool:
    """Tell whether a view may not take the door's facts for granted, because of their age."""
    return requirement.max_fact_age is not None or (info.stale and requirement.stale_if_error is not None)


class ViewRequest:
    """A request at a view that has a requirement of its own.

    ``given`` is the guard that the view names; else the door's judges, else the application's.
    Raises RuntimeError when there is none.
    """

    __slots__ = (
        "_claims",
        "_demands",
        "_is_entered",
        "_is_live",
        "_token",
        "guard",
        "is_marked",
        "surroundings",
    )

    def __init__(self, surroundings: Surroundings, given: GuardSource | None) -> None:
        self.surroundings = surroundings
        self._token: Secret | None = None
        self._demands: Demands = ()
        self._is_live = False
        self._claims: Claims | None = None  # of a live view
        # Not if there is no door, nor if middleware gave the view a scope of its own below the door.
        around = carrier_of_request.get()
        self._is_entered = around is surroundings.carrier
        self.guard = self._find_guard(given)
        if not self._is_entered and is_asked_by(around, surroundings.carrier, self.guard):
            surroundings.disown()
        #: Whether shared caches are told of a token that comes otherwise than in the header.
        self.is_marked = self.guard.sources.header_only or surroundings.have_marked(self.guard)

    def _find_guard(self, given: GuardSource | None) -> Guard:
        named = named_guard(given)
        if named is not None:
            return named
        # The door's, not the one that judged last: another view's guard on the way is that view's own.
        found = door_of(self.surroundings.carrier) or self.surroundings.application_guard()
        if not isinstance(found, Guard):
            raise RuntimeError(  # noqa: TRY004 - nothing was given: there is none
                "no guard for this view: put FBTokenMiddleware around the app (policy=None guards no path "
                "by itself), give guard=..., or let the application have one: FBGuard(app, guard) in Flask, "
                "settings.FBGUARD in Django, app.state.fbguard in Starlette and FastAPI"
            )
        return found

    def consider(self, requirement: Requirement) -> tuple[Demands, TokenInfo | Secret | None]:
        """Judge what the door knows, or find the credential that it has not looked at.

        A Secret must be settled for the demands, and what comes back injected. Raises Refused;
        RuntimeError for a requirement that could only loosen the door's.
        """
        carrier = self.surroundings.carrier
        self._is_live = requirement.live
        params = None if requirement.target is None else self.surroundings.path_params()
        demands: Demands = ((requirement, params),)
        self._demands = demands
        info: TokenInfo | None = carrier.get(TOKEN)
        if info is not None and judge_of(carrier) is self.guard:
            before = (*demands_of(carrier), *asked_of(carrier))
            if could_only_loosen(requirement, [demand for demand, _ in demands_of(carrier)]):
                raise RuntimeError(
                    "this requirement could only loosen what the door requires, and a view can only tighten: "
                    "loosen the rule of the path, or make it public and let the view decide"
                )
            if not _wants_news(requirement, info):
                self.guard.judge(demands, info)
                _, _, door, asked, _ = left_in(carrier)
                note_judged_by(carrier, door, with_demands(asked, demands))
                if requirement.live:  # the door that cuts may be another guard's, further out
                    watch_for(carrier)
                    self._claims = make_live(carrier, self.guard)
                return demands, info
            demands = (*before, *demands)  # what is found out now must meet all that the old facts did
        head = head_of(carrier)
        found = self.guard.sources.find(head)
        self._token = found if isinstance(found, Secret) else None
        verdict = self.guard.consider(demands, found, head)
        if not isinstance(verdict, Secret):
            self.inject(verdict)
        return demands, verdict

    def inject(self, info: TokenInfo | None) -> None:
        """Put the facts into the request; what the same guard has judged before stays said."""
        carrier = self.surroundings.carrier
        _, judge, door, asked, _ = left_in(carrier)
        if carrier.get(TOKEN) is None or judge is not self.guard:
            door, asked = (), ()
        self.surroundings.inject(self.guard, info, self._token)
        note_judged_by(carrier, door, with_demands(asked, self._demands))
        watch_for(carrier)
        if self._is_live:
            self._claims = make_live(carrier, self.guard)

    def running(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to call for the view."""
        if self.guard.sources.need_marks and not self.is_marked:
            view = self.surroundings.marking_view(view)
        return view if self._claims is None else self.surroundings.live_view(view, self._claims)

    def say(self, error: Refused | OAuthException | ExceptionGroup) -> object:
        """Answer a refusal; what Graph said raise again if it is the application's own matter."""
        try:
            if isinstance(error, Refused):
                return self.surroundings.say(error)
            refused = refusal_of(self.surroundings.carrier, error)
            if refused is None:
                raise error
            return self.surroundings.report(error, refused)
        finally:
            del error

    def entered(self) -> AbstractContextManager[None]:
        """Let current_token() find what was injected."""
        return nullcontext() if self._is_entered else entered(self.surroundings.carrier)

    def outgoing(self, answer: object) -> object:
        """Do for a view's answer what a door does, where there is none."""
        if self.guard.sources.need_marks and not self.is_marked:
            answer = self.surroundings.marked(answer)
        if not self._is_entered:
            answer = self.surroundings.outgoing(answer)
        return answer if self._claims is None else self.surroundings.live(answer, self._claims)
