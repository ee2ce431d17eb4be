"""Wrappers of frameworks of which is known that they call what they wrap, whatever comes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

from fbguard.decorator import ASKS

#: Of class-based views: ``dispatch_request`` is Flask's, ``dispatch`` Django's and Starlette's.
DISPATCH: Final = ("dispatch_request", "dispatch")
_CLASSES: Final = ("view_class", "cls")  # of what as_view() returns; the second is Django REST framework's
_DEEPEST: Final = 32  # wrappers around a view; more of them are a circle

_AS_VIEW: Final = frozenset({"django.views.generic.base", "rest_framework.viewsets"})
_CSRF: Final = "django.views.decorators.csrf"  # what it makes itself only marks the view
_METHOD_DECORATOR: Final = ("django.utils.decorators", "_wrapper")
_OURS: Final = "fbguard.decorator"


def owner_of(view: object) -> type | None:
    """Return the class of what ``as_view()`` has returned, None of any other view."""
    found = next((getattr(view, name) for name in _CLASSES if hasattr(view, name)), None)
    return found if isinstance(found, type) else None


def dispatch_of(owner: object) -> object:
    """Return what a class-based view is served by, None if it has none."""
    return next((getattr(owner, name) for name in DISPATCH if hasattr(owner, name)), None)


def surely_asks(one: object, guarded: object) -> bool:
    """Tell whether who calls ``one`` comes to ``guarded``, or to another guard of ours before.

    A wrapper of somebody's may answer by itself; those of Django's that always go on are known here, by
    where their code is written: ``functools.wraps()`` gives them the name of what they wrap.
    """
    for _ in range(_DEEPEST):
        one = getattr(one, "__func__", one)
        if one is guarded:
            return True
        written = _written(one)
        if written == _METHOD_DECORATOR:
            inside = inspect.getclosurevars(one).nonlocals  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            kinds, one = _kinds(inside.get("decorators")), inside.get("method")
            if not hasattr(one, ASKS):  # so it is theirs that was seen
                return next((kind for kind in kinds if kind != _CSRF), "") == _OURS
            if not {_CSRF, _OURS}.issuperset(kinds):
                return False
        elif written[0] in _AS_VIEW and (owner := owner_of(one)) is not None:
            one = dispatch_of(owner)
        elif written[0] == _CSRF:
            one = getattr(one, "__wrapped__", None)
        else:
            return False
    return False


def _written(one: object) -> tuple[str, str]:
    """Return module and name of a function as they stand in its source; empty for what is none."""
    if not inspect.isfunction(one):
        return "", ""
    return one.__globals__.get("__name__", ""), one.__code__.co_name


def _kinds(decorators: Any) -> Iterator[str]:
    """Give where the decorators of a ``method_decorator`` are from, the outermost first."""
    for decorator in reversed(decorators or ()):
        is_function = inspect.isfunction(decorator)
        yield decorator.__globals__.get("__name__", "") if is_function else type(decorator).__module__
