"""``@require_fb_token``: the requirement of one view, in any framework, with or without a door."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from fbguard.core.carrier import is_asgi
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.loops import is_on_loop
from fbguard.core.requirement import Requirement, RequirementOptions, refuse_options
from fbguard.core.secret import Secret
from fbguard.frameworks import surroundings_of
from fbguard.short_way import ShortWay
from fbguard.view_request import GuardSource, ViewRequest, check_source

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

_ON_A_LOOP = (
    "a generator is called on the event loop (by FastAPI, say), which must not wait for Facebook there: have "
    "a door judge this path first, or use Depends(FBToken(...))"
)
#: Of a guarded view, and of what functools.wraps() makes of it: the view, and its requirements.
ASKS = "fbguard_asks"
_GUARDS = "fbguard_guards"  # of a guarded dispatch: itself, and whose requirements it asks for
_DISPATCH = ("dispatch_request", "dispatch")  # of class-based views: Flask's, Django's and Starlette's


class DecoratorOptions(RequirementOptions, total=False):
    """The keywords of :func:`require_fb_token`."""

    guard: GuardSource | None


class _Decorate:
    """What ``require_fb_token(...)`` returns: takes a view, gives it back guarded, of the same type."""

    def __init__(self, options: DecoratorOptions) -> None:
        refuse_options("require_fb_token", options, ("guard",))
        self._guard = check_source(options.pop("guard", None))
        self._requirement = Requirement(**cast("RequirementOptions", options))
        self._short = ShortWay(self._requirement, self._guard)

    @overload
    def __call__(self, view: C, /) -> C: ...
    @overload
    def __call__(self, view: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, view: Any, /) -> Any:
        if inspect.isclass(view):
            return self._decorate_class(cast("type", view))
        if not callable(view):
            raise TypeError(
                "require_fb_token decorates functions, methods and class-based views; requirements have "
                "names, as in require_fb_token(scopes=[...])"
            )
        if inspect.isasyncgenfunction(view):
            raise TypeError(
                "require_fb_token cannot answer for an async generator, whose first step comes too late: "
                "return a streaming response from an ordinary view, or use Depends(FBToken(...)) in FastAPI"
            )
        return self._guard_view(view)

    def _guard_view(self, view: Callable[..., Any]) -> Callable[..., Any]:
        return self._marked(self._async(view) if _is_async(view) else self._sync(view), view)

    def _marked(self, guarded: Callable[..., Any], view: object) -> Callable[..., Any]:
        _, asked = getattr(view, ASKS, (None, ()))
        # Whose they are, too: functools.wraps() copies the mark to what may not call the view.
        setattr(guarded, ASKS, (guarded, (*asked, self._requirement)))
        return guarded

    def _decorate_class(self, view: type) -> type:
        for name in _DISPATCH:
            if hasattr(view, name):
                self._guard_dispatch(view, name)
                self._guard_subclasses(view, name)
                return view
        raise TypeError(f"{view.__name__} is no class-based view: it has no dispatch method")

    def _guard_dispatch(self, view: type, name: str) -> None:
        dispatch = getattr(view, name)
        is_django = hasattr(view, "view_is_async")
        guarded = self._marked(self._either(dispatch), dispatch) if is_django else self._guard_view(dispatch)
        setattr(guarded, _GUARDS, (guarded, (*_guards_of(dispatch), self)))
        setattr(view, name, guarded)

    def _guard_subclasses(self, view: type, name: str) -> None:
        """Guard the dispatch of classes that override it: Flask's View is used so."""
        own = vars(view).get("__init_subclass__")

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            if own is None:
                super(view, cls).__init_subclass__(**kwargs)  # type: ignore[arg-type]
            else:
                own.__get__(None, cls)(**kwargs)
            if self not in _guards_of(getattr(cls, name)):  # its own, or a mixin's before this class
                self._guard_dispatch(cls, name)

        setattr(view, "__init_subclass__", classmethod(init_subclass))  # noqa: B010 - mypy knows no other way

    def _either(self, dispatch: Callable[..., Any]) -> Callable[..., Any]:
        """Guard the dispatch of Django's View, whose handlers say its colour; a subclass may change it."""
        in_sync, in_async = self._sync(dispatch), self._async(dispatch)

        @functools.wraps(dispatch)
        def guarded(view: Any, *args: Any, **kwargs: Any) -> Any:
            return (in_async if view.view_is_async else in_sync)(view, *args, **kwargs)

        return guarded

    def _request_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ViewRequest:
        return ViewRequest(surroundings_of(args, kwargs, self._guard), self._guard)

    def _sync(self, view: Callable[..., Any]) -> Callable[..., Any]:
        is_generator = inspect.isgeneratorfunction(inspect.unwrap(view))  # FastAPI looks there, too
        lets_in = self._short.lets_in

        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if lets_in(args, kwargs):
                try:
                    return view(*args, **kwargs)
                except (Refused, OAuthException, ExceptionGroup) as error:
                    answer = error
                try:
                    return self._request_of(args, kwargs).say(answer)
                finally:
                    del answer  # it may be raised, and would hold this frame, which holds it
            request = self._request_of(args, kwargs)
            try:
                with request.entered():
                    demands, verdict = request.consider(self._requirement)
                    if isinstance(verdict, Secret):
                        if is_generator and is_asgi(request.surroundings.carrier) and is_on_loop():
                            raise RuntimeError(_ON_A_LOOP)
                        request.inject(request.guard.settle(demands, verdict))
                    return request.outgoing(request.running(view)(*args, **kwargs))
            except (Refused, OAuthException, ExceptionGroup) as error:
                answer = error
            try:
                return request.say(answer)
            finally:
                del answer

        return guarded

    def _async(self, view: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        lets_in = self._short.lets_in

        @functools.wraps(view)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if lets_in(args, kwargs):
                try:
                    return await view(*args, **kwargs)
                except (Refused, OAuthException, ExceptionGroup) as error:
                    answer = error
                try:
                    return self._request_of(args, kwargs).say(answer)
                finally:
                    del answer  # it may be raised, and would hold this frame, which holds it
            request = self._request_of(args, kwargs)
            try:
                with request.entered():  # first: asettle() asks it on which loop to look up
                    demands, verdict = request.consider(self._requirement)
                    if isinstance(verdict, Secret):
                        request.inject(await request.guard.asettle(demands, verdict))
                    return request.outgoing(await request.running(view)(*args, **kwargs))
            except (Refused, OAuthException, ExceptionGroup) as error:
                answer = error
            try:
                return request.say(answer)
            finally:
                del answer

        return guarded


@overload
def require_fb_token(view: C, /) -> C: ...
@overload
def require_fb_token(view: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def require_fb_token(**options: Unpack[DecoratorOptions]) -> _Decorate: ...
def require_fb_token(view: Any = None, /, **options: Unpack[DecoratorOptions]) -> Any:
    """Let a view run only for tokens that meet a requirement, besides what its door requires.

    The keywords are those of :class:`fbguard.Requirement`, and ``guard``: a Guard or a callable that
    returns one, for views without a door or of another app than the door's. Sync and async functions,
    methods, partials; of a class-based view its dispatch is wrapped and the same class returned.

    It can only tighten. What the door has not looked at (``policy=None``, a public rule) it looks at
    itself, in the view's own colour. Without a door and ``guard`` the guard is the application's:
    Flask's ``current_app.extensions["fbguard"]``, Django's ``settings.FBGUARD``, Starlette's and
    FastAPI's ``request.app.state.fbguard``. Values of ``target`` are the framework's routed parameters.

    Raises what Requirement raises. At a call: RuntimeError when there is no guard or no request, or
    when the requirement could only loosen what the door requires.
    """
    decorate = _Decorate(options)
    return decorate if view is None else decorate(view)


def _guards_of(dispatch: object) -> tuple[_Decorate, ...]:
    """Return whose requirements a dispatch asks for; functools.wraps copies the mark to what asks none."""
    marked, guards = getattr(dispatch, _GUARDS, (None, ()))
    return guards if marked is dispatch else ()


def _is_async(view: Callable[..., Any]) -> bool:
    whole = view
    while isinstance(whole, functools.partial):
        whole = whole.func
    if inspect.iscoroutinefunction(getattr(whole, "__call__", None)):  # noqa: B004 - of an instance
        return True
    if inspect.iscoroutinefunction(view):
        return True
    if hasattr(view, "_is_coroutine"):  # before Python 3.12 Django's as_view() marks what it returns so
        return True
    # What method_decorator makes of Django's dispatch: a partial of the bound method, on each request.
    bound = view.func if isinstance(view, functools.partial) else view
    return getattr(bound, "__name__", "") in _DISPATCH and bool(
        getattr(getattr(bound, "__self__", None), "view_is_async", False)
    )
