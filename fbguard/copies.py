"""Copies of a request with another token: what an app asks of itself is a request of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, Self, cast

from fbguard.claims import LIVE
from fbguard.context import LEFT, STATE_ATTRIBUTE, TOKEN, door_of, left_in
from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.heads import head_of
from fbguard.marks import MARKS

_BEGAN: Final = "fbguard.began"  # of a request: itself, by id, and the carrier of the last door then
_SHOWN: Final = (
    "fbguard.shown"  # of a request: itself, by id, and what g held before: another's facts, or None
)
_NOTHING: Final = object()


def is_asked_by(around: Carrier | None, carrier: Carrier, guard: Guard) -> bool:
    """Tell a request that the app asks of itself: a copy of the one around, with another token.

    ``around`` may be unknown (another thread) or a copy itself, so what lies in the copy is looked at first.
    """
    if around is carrier:
        return False
    _, judge, _, _, judged = left_in(carrier)
    if judge is not None and judged is not None:
        brought = judge.sources.find(head_of(carrier))
        if brought is not None and brought != judged:
            return True
    if around is None:
        return False
    token = guard.sources.find(head_of(carrier))
    return token is not None and token != guard.sources.find(head_of(around))


def carriers_among(arguments: Sequence[object]) -> Iterator[Carrier]:
    """Give the scopes and environs among the arguments of a view: of apps, and of requests that have one."""
    found = [getattr(argument, "scope", None) for argument in arguments]
    scope, environ, last = [None, None, None, *arguments][-3:]
    if callable(environ) and callable(last):
        found.append(scope)  # in front of receive and send
    if callable(last):
        found.append(environ)  # in front of start_response
    for one in found:
        if isinstance(one, dict) and _is_carrier(cast("Carrier", one)):
            yield cast("Carrier", one)


def _is_carrier(one: Carrier) -> bool:
    """Tell a scope or environ from what a client may have sent: JSON knows no bytes and no streams."""
    kind: object = one.get("type")
    if not isinstance(kind, str) or kind not in {"http", "websocket"}:
        return "REQUEST_METHOD" in one and hasattr(one.get("wsgi.input"), "read")
    headers: object = one.get("headers")
    if isinstance(headers, Iterator):
        headers = one["headers"] = [*cast("Iterator[object]", headers)]  # it is read more than once
    if not isinstance(headers, list | tuple):
        return False
    pairs = cast("Sequence[object]", headers)
    return all(map(_is_header, pairs)) and (bool(pairs) or isinstance(one.get("query_string"), bytes))


def _is_header(pair: object) -> bool:
    match pair:
        case [bytes(), bytes()]:
            return True
        case _:
            return False


def disown(carrier: Carrier) -> None:
    """Forget what a copy has brought along of another request; the door's guard is still around it."""
    _have_own_facts_in_state(carrier)
    carrier[TOKEN], carrier[LEFT] = None, (door_of(carrier), None, (), (), None)
    carrier.pop(LIVE, None)


def part(scope: Carrier, guard: Guard) -> None:
    """Before a door judges a copy with another token, or none: keep its facts out of the state around it.

    What is live around it stays: it may be the same request, whose token some middleware has exchanged.
    """
    around = carrier_of_request.get()
    if around is None or around is scope:
        return
    if not isinstance(scope["headers"], list | tuple):
        scope["headers"] = list(scope["headers"])  # any iterable may be, and it is read more than once
    if guard.sources.find(head_of(scope)) != guard.sources.find(head_of(around)):
        _have_own_facts_in_state(scope)
        scope.pop(MARKS, None)


def _have_own_facts_in_state(carrier: Carrier) -> None:
    if is_asgi(carrier) and "state" in carrier:
        carrier["state"] = _State(carrier["state"])  # which the original has, too, or may have


class _State(MutableMapping[str, Any]):
    """The state of a request, which the copy of its scope shares, but for the facts."""

    def __init__(self, shared: MutableMapping[str, Any]) -> None:
        self._shared: MutableMapping[str, Any] = shared
        self._own: dict[str, Any] = {STATE_ATTRIBUTE: None}

    def _of(self, key: str) -> MutableMapping[str, Any]:
        return self._own if key == STATE_ATTRIBUTE else self._shared

    def __getitem__(self, key: str) -> Any:
        return self._of(key)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._of(key)[key] = value

    def __delitem__(self, key: str) -> None:
        del self._of(key)[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (key for key in self._shared if key != STATE_ATTRIBUTE)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # What a dict can besides: frameworks take it for one.

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self


def begin(request: Carrier) -> None:
    """Note which door was the last when a framework began to serve a request."""
    request[_BEGAN] = (id(request), carrier_of_request.get())


def has_begun(request: Carrier) -> bool:
    """Tell whether that was noted of this very request; a copy brings along what was noted of another."""
    return _BEGAN in request and request[_BEGAN][0] == id(request)


def is_innermost(request: Carrier) -> bool:
    """Tell a request that :func:`begin` has noted, and since when no other one has come through a door.

    Else its view has asked another app, whose view it is that runs.
    """
    return has_begun(request) and request[_BEGAN][1] is carrier_of_request.get()


def is_around(request: Carrier, door: Carrier) -> bool:
    """Tell a request whose app has asked another one, which has the last door; nothing may have been noted.

    Then the tokens tell. Raises RuntimeError where they do not: the door has looked at none.
    """
    if has_begun(request):
        return not is_innermost(request)
    guard, _, _, _, judged = left_in(request)
    if guard is None:
        return False  # it came by no door: it runs below the one there is, or is asked below it
    brought = guard.sources.find(head_of(request))
    if brought == guard.sources.find(head_of(door)):
        return False
    if judged is None:
        raise RuntimeError(
            "two requests run in each other, and which is the view's cannot be told: put the door around the "
            "framework's app itself, not around a function that calls it"
        )
    return brought == judged  # else a copy of the door's request, with a token of its own


def show_in(g: Any, request: Carrier, info: TokenInfo | None) -> None:
    """Put facts into the ``g`` of Flask or Quart, where their views look for them.

    What another request of the same app has there is noted, for :func:`put_back_in`: a test client, or
    whatever asks the app from a view of its own, shares the view's ``g``.
    """
    shown = request.get(_SHOWN)
    if shown is None or shown[0] != id(request):  # a copy brings along what another request has noted
        request[_SHOWN] = (id(request), g.get(STATE_ATTRIBUTE, _NOTHING))
    g.fb_token = info


def put_back_in(g: Any, request: Carrier) -> None:
    """Undo :func:`show_in` for good, at the end of the request."""
    whose, before = request.pop(_SHOWN, (None, _NOTHING))
    if whose == id(request) and before is not _NOTHING:
        g.fb_token = before


def is_shown(request: Carrier) -> bool:
    """Tell whether :func:`show_in` has shown something of a request, and it is still to be put back."""
    return _SHOWN in request


def hand_down(environ: Carrier) -> None:
    """Tell a WSGI app of the ASGI door around what serves it (Starlette, a2wsgi): that knows another request.

    What a view asks of another app in this process comes by here, too: it is judged for its own token.
    """
    door = carrier_of_request.get()
    if door is None or not is_asgi(door) or door_of(door) is None or door_of(environ) is not None:
        return
    guard, judge, _, _, token = left = left_in(door)
    if judge is not None and token is not None and judge.sources.find(head_of(environ)) == token:
        environ[TOKEN], environ[LEFT] = door[TOKEN], left
        if LIVE in door:
            environ[LIVE] = door[LIVE]
    else:
        environ[TOKEN], environ[LEFT] = None, (guard, None, (), (), None)
