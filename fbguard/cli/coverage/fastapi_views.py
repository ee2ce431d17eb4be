"""What the dependencies of a FastAPI route ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi.dependencies.models import Dependant

from fbguard.cli.coverage.asking import asked_by
from fbguard.core.requirement import Requirement, with_scopes
from fbguard.integrations.fastapi import FBToken

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]


def requirements_of(dependant: Dependant, overrides: Overrides) -> Iterator[Requirement]:
    """Give the requirements of FBToken dependencies and of decorated ones, from outside in.

    What stands in ``dependency_overrides`` takes the place of its dependency, and of what that depends on.
    """
    for dependency in dependant.dependencies:
        call = dependency.call
        if call is None:
            continue
        served = overrides.get(call, call)
        if isinstance(served, FBToken):
            yield with_scopes(served.requirement, _scopes(dependency))
        yield from asked_by(served).requirements
        if served is call:
            yield from requirements_of(dependency, overrides)


def _scopes(dependency: Any) -> list[str]:
    """Return those of ``Security(..., scopes=[...])``, on the way to a dependency and at it."""
    named = (getattr(dependency, name, None) for name in ("parent_oauth_scopes", "own_oauth_scopes"))
    return [scope for scopes in named for scope in scopes or ()]
