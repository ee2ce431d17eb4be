"""The servers as fixtures: every test runs on each of them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fbguard.sandbox import Sandbox
from tests.servers.deployment import COMMANDS, Deployment, params


@pytest.fixture(scope="session")
def facebook() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox()
    with sandbox.serve() as url:
        yield sandbox, url


@pytest.fixture(scope="session", params=params(*COMMANDS))
def deployment(request: pytest.FixtureRequest, facebook: tuple[Sandbox, str]) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(request.param, stack, *facebook)
