"""The sandbox, and the servers as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fbguard.sandbox import Sandbox
from tests.frameworks.serving import REFERENCE, Farm, Served, params, serving


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    sandbox = Sandbox()
    with sandbox.serve() as graph, ExitStack() as stack:
        yield Farm(stack, sandbox, graph)


@pytest.fixture(scope="session")
def reference(farm: Farm) -> Served:
    return farm.get(REFERENCE)


@pytest.fixture(scope="session", params=params())
def served(request: pytest.FixtureRequest, farm: Farm, reference: Served) -> Iterator[Served]:
    """Give every app on every server, one after the other; but for the reference it ends with its tests."""
    if request.param == REFERENCE:
        yield reference
    else:
        with serving(request.param, farm.sandbox, farm.graph) as served:
            yield served
