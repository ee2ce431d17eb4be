"""The short way into a view with a requirement: below a door that has let the same request in.

What :class:`fbguard.view_request.ViewRequest` does for every view, for what nearly every guarded view is: it
was given the door's own request, asks the door's guard for scopes, and the token has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from sys import modules

from fbguard.claims import LIVE
from fbguard.context import LEFT, TOKEN, inject, note_judged_by, with_demands
from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.requirement import Requirement, could_only_loosen
from fbguard.core.secret import recalled
from fbguard.core.token import END, Grant, TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard
from fbguard.heads import bearer_in_environ, bearer_in_scope
from fbguard.view_request import GuardSource

_MOST = 256  # of grants below a door that are remembered
# What has a ``tell``, by the names that a request need not make.
_DJANGO = "fbguard.integrations.django"
_FLASK = "fbguard.integrations.flask_views"


# To call an attribute that is no method is slow.
_get_carrier = carrier_of_request.get

_Met = tuple[Grant | None, Demands | None, object]  # and whose, by Guard.mark: no guard is kept alive


class ShortWay:
    """Of one decorator or dependency: ``guard`` is what it names."""

    def __init__(self, requirement: Requirement, guard: GuardSource | None) -> None:
        self._requirement = requirement
        self._asked: Demands = ((requirement, None),)
        self._is_open = requirement.scopes_only and requirement.stale_if_error is None and guard is None
        # What was found to be met: the last, and all by identity, so the objects are kept, too.
        self._last: _Met = (None, None, None)
        self._met: dict[tuple[int, int, int], _Met] = {}

    def lets_in(self, arguments: tuple[object, ...], options: Mapping[str, object]) -> bool:
        """Tell whether a view may run; False tells nothing: then it is found out the long way."""
        carrier = _get_carrier()
        if carrier is None:
            return False
        try:
            info: TokenInfo | None = carrier[TOKEN]
            guard, judge, demands, asked, token = carrier[LEFT]
        except KeyError:
            return False
        # If another one has judged since, the long way asks the door's.
        if guard is None or judge is not guard:
            return False
        if info is None:
            return not (demands or asked) and self._looks(carrier, guard, arguments, options)
        if (not arguments or arguments[0] is not carrier) and not (
            self._is_open and _tell(carrier, info, arguments, options)
        ):
            return False
        grant, door, mark = self._last
        if (grant is not info.grant or door is not demands or mark is not guard.mark) and not self._recalls(
            demands, guard, info.grant
        ):
            return False
        end, wall = info.numbers & END, guard.wall
        if end and wall() >= end:  # in this order: a float knows how to compare itself with an int
            return False
        asked = with_demands(asked, self._asked) if asked else self._asked
        carrier[LEFT] = (guard, guard, demands, asked, token)
        return True

    def _looks(
        self, carrier: Carrier, guard: Guard, arguments: tuple[object, ...], options: Mapping[str, object]
    ) -> bool:
        """Judge a token that the door has not looked at, as a door does if it knows it: the view decides."""
        if not self._is_open or not guard.sources.header_only or LIVE in carrier:
            return False
        given = bearer_in_scope(carrier) if is_asgi(carrier) else bearer_in_environ(carrier)
        if given is None:
            return False
        digest = sha256(given if isinstance(given, bytes) else given.encode()).digest()
        info = guard.plain(digest, self._requirement.scope_set)
        if info is None:
            return False
        if (not arguments or arguments[0] is not carrier) and not _tell(carrier, info, arguments, options):
            return False
        inject(carrier, guard, info, (), recalled(given, digest))
        note_judged_by(carrier, (), self._asked)
        return True

    def _recalls(self, door: Demands, guard: Guard, grant: Grant) -> bool:
        """Tell whether any token with this grant meets the requirement below this door; keep a yes."""
        found = (id(grant), id(door), id(guard.mark))
        if found not in self._met:
            if not self._is_met(guard, grant, door):
                return False
            if any(params for _, params in door):
                return True  # of this path only: it is not worth a place
            if len(self._met) >= _MOST:
                self._met.clear()
            self._met[found] = (grant, door, guard.mark)
        self._last = (grant, door, guard.mark)
        return True

    def _is_met(self, guard: Guard, grant: Grant, door: Demands) -> bool:
        return (
            self._is_open
            and grant.is_valid
            and grant.type == "USER"
            and grant.app_id == guard.app_id
            and not grant.stale
            and self._requirement.scope_set <= grant.scopes
            and not guard.sources.need_marks
            and not could_only_loosen(self._requirement, [demand for demand, _ in door])
        )


def _tell(
    carrier: Carrier, info: TokenInfo, arguments: tuple[object, ...], options: Mapping[str, object]
) -> bool:
    """Tell whether a view was given this very request, and put the facts where its framework has them.

    As a scope or environ, or by Starlette, Django or Flask; otherwise another one may be nearer to it. What
    asks the frameworks is there once it was needed: the first request of all goes the long way.
    """
    in_asgi = is_asgi(carrier)
    name = "scope" if in_asgi else "environ"
    for argument in arguments:
        if argument is carrier:
            return True
        if getattr(argument, name, None) is carrier:
            if not hasattr(argument, "META"):
                return in_asgi  # Starlette's; of werkzeug's only Flask knows whether it is Flask's
            return _told_by(_DJANGO, info, argument)
    return not in_asgi and _told_by(_FLASK, info, carrier, arguments, options)


def _told_by(integration: str, info: TokenInfo, *request: object) -> bool:
    """Have an integration put the facts where its views look; False where nobody has needed it before.

    Or where another thread still loads it, and its ``tell`` is not there yet.
    """
    tell = getattr(modules.get(integration), "tell", None)
    return tell is not None and tell(info, *request)
