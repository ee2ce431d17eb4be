"""What the decorators of a view ask for, and where a view is written."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from fbguard.cli.coverage.wrappers import dispatch_of, owner_of, surely_asks
from fbguard.core.requirement import Requirement
from fbguard.decorator import ASKS


@dataclass(frozen=True, slots=True)
class Asked:
    """Requirements; ``wrapper`` names a function around the view that asks for them, if there is one.

    Such a function may answer by itself, and then nothing is asked.
    """

    requirements: tuple[Requirement, ...] = ()
    wrapper: str | None = None


def asked_by(view: object) -> Asked:
    """Return what the decorators of a view ask for."""
    for one in _called(view):
        marked: object = getattr(one, ASKS, None)
        if isinstance(marked, tuple):
            guarded, requirements = cast("tuple[object, tuple[Requirement, ...]]", marked)
            return Asked(requirements, None if surely_asks(one, guarded) else named(one))
    return Asked()


def asked_by_verb(owner: type | None, verbs: Iterable[str]) -> dict[str, Asked]:
    """Return what the methods of a class-based view ask for; frameworks serve HEAD by ``get``."""
    handlers = {verb: getattr(owner, verb.lower(), None) for verb in verbs}
    handlers |= {"HEAD": handlers.get("HEAD") or getattr(owner, "get", None)}
    return {verb: asked_by(handler) for verb, handler in handlers.items() if handler is not None}


def named(view: object) -> str:
    """Return where a view is written: ``module.name``."""
    while isinstance(view, functools.partial):
        view = view.func
    return _name_of(owner_of(view) or view)


def _name_of(one: object) -> str:
    if not hasattr(one, "__qualname__"):
        one = type(one)
    return f"{getattr(one, '__module__', '?')}.{getattr(one, '__qualname__', '?')}"


def _called(view: object) -> Iterator[object]:
    """Give what is called of a view, from outside in."""
    while isinstance(view, functools.partial):
        yield view
        view = view.func
    if isinstance(view, type):
        if _is_endpoint(view):
            yield dispatch_of(view)
        return
    yield view
    owner = owner_of(view)
    if owner is not None:
        yield dispatch_of(owner)
    elif not hasattr(view, "__qualname__"):  # an object
        yield getattr(type(view), "__call__", None)  # noqa: B004 - the function, for its mark


def _is_endpoint(view: type) -> bool:
    """Tell whether a class is an endpoint of Starlette's that is served by its ``dispatch``."""
    module = sys.modules.get("starlette.endpoints")
    if module is None:
        return False
    bases: tuple[type, ...] = (module.HTTPEndpoint, module.WebSocketEndpoint)
    own: object = getattr(view, "__await__", None)
    return any(issubclass(view, base) and own is getattr(base, "__await__", None) for base in bases)
