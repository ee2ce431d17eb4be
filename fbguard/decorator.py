"""``@require_fb_token``: the requirement of one view, under a door."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from fbguard import asgi, wsgi
from fbguard.context import GUARD, TOKEN, inject
from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.errors import Refused
from fbguard.core.reasons import Finding
from fbguard.core.requirement import PathParams, Requirement, RequirementOptions
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard

P = ParamSpec("P")
R = TypeVar("R")


@overload
def require_fb_token(view: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def require_fb_token(**options: Unpack[RequirementOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def require_fb_token(
    view: Callable[..., Any] | None = None, /, **options: Unpack[RequirementOptions]
) -> Callable[..., Any]:
    """Let a view run only for tokens that meet a requirement, besides what its door requires.

    The keywords are those of :class:`fbguard.Requirement`. The view may be sync or async, a function
    or a method; name and signature stay. What the door has not looked at (``policy=None``, a public
    rule) the decorator looks at itself, in the view's own colour. Values of ``target`` are the
    framework's routed parameters.

    Raises what Requirement raises, TypeError for a class; at the call RuntimeError without a door.
    """
    requirement = Requirement(**options)  # type: ignore[arg-type]

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isclass(view) or not callable(view):
            raise TypeError("require_fb_token decorates functions and methods")
        return _guard_async(view, requirement) if _is_async(view) else _guard_sync(view, requirement)

    return decorate if view is None else decorate(view)


def _is_async(view: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(view) or inspect.iscoroutinefunction(getattr(view, "__call__", None))  # noqa: B004 - an instance with async __call__


def _guard_sync(view: Callable[..., R], requirement: Requirement) -> Callable[..., R]:
    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> R:
        request = _Request.current(args, kwargs)
        try:
            demands, verdict = request.consider(requirement)
            if isinstance(verdict, Secret):
                request.inject(request.guard.settle(demands, verdict))
            return view(*args, **kwargs)
        except Refused as refused:
            answer = request.as_raised(refused)
        raise answer

    return guarded


def _guard_async(view: Callable[..., Awaitable[R]], requirement: Requirement) -> Callable[..., Awaitable[R]]:
    @functools.wraps(view)
    async def guarded(*args: Any, **kwargs: Any) -> R:
        request = _Request.current(args, kwargs)
        try:
            demands, verdict = request.consider(requirement)
            if isinstance(verdict, Secret):
                request.inject(await request.guard.asettle(demands, verdict))
            return await view(*args, **kwargs)
        except Refused as refused:
            answer = request.as_raised(refused)
        raise answer

    return guarded


class _Request:
    """The request around a view: the door's carrier, and the framework's own object if it got one."""

    __slots__ = ("_arguments", "_carrier", "_is_asgi", "guard")

    def __init__(self, carrier: Carrier, arguments: list[object]) -> None:
        self._carrier = carrier
        self._arguments = arguments
        self._is_asgi = is_asgi(carrier)
        self.guard: Guard = carrier[GUARD]

    @classmethod
    def current(cls, args: tuple[object, ...], kwargs: Mapping[str, object]) -> _Request:
        carrier = carrier_of_request.get()
        if carrier is None:
            raise RuntimeError(
                "require_fb_token found no door around this view: wrap the app in FBTokenMiddleware "
                "(policy=None guards no path by itself), and call the view in the request's own context"
            )
        return cls(carrier, [*args, *kwargs.values()])

    def consider(self, requirement: Requirement) -> tuple[Demands, TokenInfo | Secret | None]:
        """Judge what the door knows, or find the credential that it has not looked at."""
        params = None if requirement.target is None else self._path_params()
        demands = ((requirement, params),)
        info: TokenInfo | None = self._carrier[TOKEN]
        if info is not None:
            return demands, self.guard.judge(demands, info)
        verdict = self.guard.consider(demands, self._credential())
        if isinstance(verdict, TokenInfo):
            self.inject(verdict)
        return demands, verdict

    def inject(self, info: TokenInfo) -> None:
        inject(self._carrier, self.guard, info)

    def as_raised(self, refused: Refused) -> Exception:
        """Return what to raise, having told the framework what it means."""
        if not self._is_asgi:
            return wsgi.as_raised(refused, cast("dict[str, Any]", self._carrier))
        for scope in self._scopes():
            asgi.teach_routed(scope)
        return refused

    def _credential(self) -> Secret | Finding | None:
        if self._is_asgi:
            return asgi.find_credential(self._carrier, self.guard.sources)
        return wsgi.find_credential(cast("dict[str, Any]", self._carrier), self.guard.sources)

    def _path_params(self) -> PathParams:
        """Return the framework's routed parameters; empty when it has none."""
        if not self._is_asgi:
            request = self._carrier.get("werkzeug.request")
            return getattr(request, "view_args", None) or {}
        for scope in self._scopes():
            if scope.get("path_params"):
                return cast("PathParams", scope["path_params"])
        return {}

    def _scopes(self) -> Iterable[Carrier]:
        """Give the scope of the framework's request, then the door's; a middleware may have copied it."""
        for argument in self._arguments:
            scope = getattr(argument, "scope", None)
            if isinstance(scope, dict):
                yield cast("Carrier", scope)
        yield self._carrier
