"""What a view finds around it, with or without a door and a framework, and its own judgement there.

Imports no framework: each integration brings a kind of :class:`Surroundings`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

from fbguard.claims import Claims, disown, make_live, refusal_at_end, watch_for
from fbguard.connections import LiveResponse, has_door_that_cuts
from fbguard.context import (
    TOKEN,
    asked_of,
    demands_of,
    door_of,
    inject_facts,
    judge_of,
    left_in,
    note_judged_by,
)
from fbguard.core.carrier import Carrier, carrier_of_request, entered, is_asgi
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams, Requirement, could_only_loosen
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard
from fbguard.heads import head_of
from fbguard.reports import refusal_of
from fbguard.streams import ending_body

#: What to do where nobody can tell shared caches of a token outside the Authorization header.
NEEDS_A_DOOR = (
    "a token may come by cookie or query, and nothing here can mark the answer for shared caches: put "
    "FBTokenMiddleware (policy=None guards no path by itself) around the app"
)

#: Why a view cannot be live there.
NOTHING_TO_CUT = (
    "live=True finds nothing here that it could cut: a WebSocket needs an FBTokenMiddleware around the app "
    "(policy=None guards no path by itself); where a dependency guards, a Rule(..., live=True) of that door "
    "must stand over the path of a streamed response, or @require_fb_token(live=True) before its view"
)

GuardSource = Guard | Callable[[], Guard]


def check_source(guard: object) -> GuardSource | None:
    """Return the ``guard`` option of a view, or raise TypeError for what is none."""
    if guard is None or isinstance(guard, Guard):
        return guard
    if not callable(guard) or isinstance(guard, type):
        raise TypeError("guard must be a Guard or a callable that returns one")
    return cast("Callable[[], Guard]", guard)


class Surroundings:
    """A view with no framework around it that fbguard knows; each integration has a kind of its own.

    ``carrier`` is ASGI's scope or WSGI's environ of the request.
    """

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier

    def application_guard(self) -> Guard | None:
        """Return the guard that the application keeps where its framework keeps such things."""
        return None

    def path_params(self) -> PathParams:
        """Return the framework's routed parameters."""
        return {}

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        """Put the facts where views of this framework look for them, and their token aside."""
        inject_facts(self.carrier, guard, info, token)

    def must_mark(self) -> bool:
        """Tell whether the view's answer must be marked: where no door does it."""
        return door_of(self.carrier) is None

    def marked(self, answer: object, guard: Guard) -> object:
        """Return a view's answer so that shared caches know on whom it depends; raises RuntimeError."""
        del answer, guard
        raise RuntimeError(NEEDS_A_DOOR)

    def outgoing(self, answer: object) -> object:
        """Return a view's answer so that code which makes its body later finds this request, too."""
        return answer

    def live_view(self, view: Callable[..., Any], claims: Claims) -> Callable[..., Any]:
        """Return a live view so that its connection ends with its tokens; raises RuntimeError."""
        if not is_asgi(self.carrier) or is_cut_by_door(self.carrier):
            return view
        return partial(_cut_response, view, claims)  # here a view is an ASGI app

    def live(self, answer: object, claims: Claims) -> object:
        """Return a live view's answer so that its body, if it is streamed, ends with its tokens."""
        if isinstance(answer, list | tuple) or not isinstance(answer, Iterable):
            return answer  # pyright: ignore[reportUnknownVariableType]
        body = cast("Iterable[bytes]", answer)
        return ending_body(self.carrier, claims, body, getattr(body, "close", None))

    def say(self, refused: Refused) -> object:
        """Return or raise what the framework takes for an ordinary answer."""
        try:
            raise refused
        finally:
            del refused  # which holds this frame now: no circle may keep the request

    def report(self, error: Exception, refused: Refused) -> object:
        """Do so for what Graph said of this request's token, unless the app has words of its own."""
        del refused
        try:
            raise error  # to the door
        finally:
            del error


def is_asked_by(around: Carrier | None, carrier: Carrier, guard: Guard) -> bool:
    """Tell a request that the app asks of itself: a copy of the one around, with another token."""
    if around is None or around is carrier:
        return False
    token = guard.sources.find(head_of(carrier))
    return token is not None and token != guard.sources.find(head_of(around))


def is_cut_by_door(carrier: Carrier) -> bool:
    """Tell whether the door cuts this connection anyhow; raises RuntimeError for a WebSocket without one."""
    is_cut = has_door_that_cuts(carrier)
    if not is_cut and carrier.get("type") == "websocket":
        raise RuntimeError(NOTHING_TO_CUT)
    return is_cut


async def _cut_response(view: Callable[..., Awaitable[None]], claims: Claims, *args: Any) -> None:
    """Call a view that is an ASGI app, or a method that is one; raises Refused before it has answered."""
    *own, scope, receive, send = args
    live = LiveResponse(receive, send, partial(refusal_at_end, scope, claims.guard, claims.demands))
    claims.begin(live)
    await live.run(partial(view, *own), scope)


def _wants_news(requirement: Requirement, info: TokenInfo) -> bool:
    """Tell whether a view may not take the door's facts for granted, because of their age."""
    return requirement.max_fact_age is not None or (info.stale and requirement.stale_if_error is not None)


class ViewRequest:
    """A request at a view that has a requirement of its own.

    ``given`` is the guard that the view names; else the door's judges, else the application's.
    Raises RuntimeError when there is none.
    """

    __slots__ = ("_claims", "_demands", "_is_entered", "_is_live", "_token", "guard", "surroundings")

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
            disown(surroundings.carrier)

    def _find_guard(self, given: GuardSource | None) -> Guard:
        if isinstance(given, Guard):
            return given
        if given is not None:
            if isinstance(named := given(), Guard):  # pyright: ignore[reportUnnecessaryIsInstance]
                return named
            raise RuntimeError("the callable given as guard= returned no Guard")
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
                note_judged_by(carrier, door, (*asked, *demands))
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
        note_judged_by(carrier, door, (*asked, *self._demands))
        watch_for(carrier)
        if self._is_live:
            self._claims = make_live(carrier, self.guard)

    def running(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to call for the view."""
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
        if self.guard.sources.need_marks and self.surroundings.must_mark():
            answer = self.surroundings.marked(answer, self.guard)
        if not self._is_entered:
            answer = self.surroundings.outgoing(answer)
        return answer if self._claims is None else self.surroundings.live(answer, self._claims)
