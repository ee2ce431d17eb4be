"""What a view finds around it, with or without a door and a framework.

Imports no framework: each integration brings a kind of :class:`Surroundings`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final, cast

from fbguard.claims import Claims, refusal_at_end
from fbguard.connections import LiveResponse, Receive, Send, has_door_that_cuts
from fbguard.context import demands_of, inject_facts
from fbguard.copies import disown
from fbguard.core.carrier import Carrier, is_asgi
from fbguard.core.errors import Refused
from fbguard.core.requirement import PathParams, is_live
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.marks import marks_of
from fbguard.sends import have_marked, marking_start
from fbguard.streams import ending_body

#: What to do where nobody can tell shared caches of a token outside the Authorization header.
NEEDS_A_DOOR: Final = (
    "a token may come by cookie or query, and nothing here can mark the answer for shared caches: put "
    "FBTokenMiddleware (policy=None guards no path by itself) around the app, with a guard that reads it too"
)

#: Why a view cannot be live there.
NOTHING_TO_CUT: Final = (
    "live=True finds nothing here that it could cut: a WebSocket needs an FBTokenMiddleware around the app "
    "(policy=None guards no path by itself); where a dependency guards, a Rule(..., live=True) of that door "
    "must stand over the path of a streamed response, or @require_fb_token(live=True) before its view"
)

UNKNOWN_ANSWER: Final = (
    "live=True does not know what this view returns, and could not cut it: a Rule(..., live=True) of the "
    "door must stand over its path"
)
_OF_ASGI: Final = 3  # arguments: scope, receive, send
_OF_WSGI: Final = 2  # environ, start_response
_COMPLETE: Final = (str, bytes, bytearray, int, float, Mapping, list, tuple, type(None))


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

    def disown(self) -> None:
        """Forget what a copy of another request has brought along."""
        disown(self.carrier)

    def have_marked(self, guard: Guard) -> bool:
        """Have whatever goes out marked for shared caches, whoever makes it; False where nobody can."""
        return have_marked(self.carrier, guard)

    def marking_view(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return a view whose answer nobody else can mark; raises RuntimeError.

        For views that return an answer :meth:`marked` does that.
        """
        return partial(_mark_start, view, self.carrier)  # here a view is a WSGI app: in ASGI a door marks

    def marked(self, answer: object) -> object:
        """Return a view's answer so that shared caches know on whom it depends; raises RuntimeError."""
        return answer

    def outgoing(self, answer: object) -> object:
        """Return a view's answer so that code which makes its body later finds this request, too."""
        return answer

    def live_view(self, view: Callable[..., Any], claims: Claims) -> Callable[..., Any]:
        """Return a live view so that its connection ends with its tokens; raises RuntimeError.

        For views that return a streamed answer :meth:`live` does that.
        """
        if not is_asgi(self.carrier) or is_cut_by_door(self.carrier):
            return view
        return partial(_cut_response, view, claims)  # here a view is an ASGI app

    def live(self, answer: object, claims: Claims) -> object:
        """Return a live view's answer so that its body, if it is streamed, ends with its tokens."""
        if isinstance(answer, _COMPLETE) or isawaitable(answer):
            return answer  # pyright: ignore[reportUnknownVariableType]
        # In ASGI it may be anything but a body, unless it is an app of WSGI that answers.
        if not isinstance(answer, Iterator if is_asgi(self.carrier) else Iterable):
            if self._is_cut():
                return answer
            raise RuntimeError(UNKNOWN_ANSWER)
        body = cast("Iterable[bytes]", answer)
        return ending_body(self.carrier, claims, body, getattr(body, "close", None))

    def _is_cut(self) -> bool:
        if is_asgi(self.carrier):
            return is_cut_by_door(self.carrier)
        return is_live(demands_of(self.carrier))

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


class AnsweringSurroundings(Surroundings):
    """A view of a framework whose views return, or raise, what is answered: so that is what is looked at."""

    def marking_view(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view: :meth:`marked` does the rest."""
        return view

    def live_view(self, view: Callable[..., Any], claims: Claims) -> Callable[..., Any]:
        """Return the view: :meth:`live` does the rest."""
        del claims
        return view


def is_cut_by_door(carrier: Carrier) -> bool:
    """Tell whether the door cuts this connection anyhow; raises RuntimeError for a WebSocket without one."""
    is_cut = has_door_that_cuts(carrier)
    if not is_cut and carrier.get("type") == "websocket":
        raise RuntimeError(NOTHING_TO_CUT)
    return is_cut


def _mark_start(view: Callable[..., object], carrier: Carrier, *args: Any, **options: object) -> object:
    """Call a view that is a WSGI app, or a method that is one, and mark what it starts to answer."""
    if options or len(args) < _OF_WSGI or not isinstance(args[-_OF_WSGI], dict):
        if marks_of(carrier).is_private:
            raise RuntimeError(NEEDS_A_DOOR)  # a view of some framework
        return view(*args, **options)
    *own, environ, start_response = args
    return view(*own, environ, marking_start(marks_of(carrier), start_response))


def _cut_response(view: Callable[..., Any], claims: Claims, *args: Any, **options: object) -> Any:
    """Call a view that is an ASGI app, or a method that is one; of any other the answer is looked at."""
    if not options and len(args) >= _OF_ASGI and isinstance(args[-_OF_ASGI], dict):
        return _run_cut(view, claims, *args)
    if iscoroutinefunction(view):
        raise RuntimeError(UNKNOWN_ANSWER)  # of some framework
    return view(*args, **options)  # of WSGI below a door of ASGI, say


async def _run_cut(view: Callable[..., Awaitable[None]], claims: Claims, *args: Any) -> None:
    """Await the view; raises Refused for an end before it has answered."""
    *own, scope, receive, send = args
    await live_response(claims, scope, receive, send).run(partial(view, *own), scope)


def live_response(claims: Claims, scope: Carrier, receive: Receive, send: Send) -> LiveResponse:
    """Return what ends a live view's response with its tokens, where the view sends by itself."""
    live = LiveResponse(receive, send, partial(refusal_at_end, scope, claims.guard, claims.demands))
    claims.begin(live)
    return live
