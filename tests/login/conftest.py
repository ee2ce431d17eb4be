from __future__ import annotations

from collections.abc import Iterator

import pytest

from fbguard import Guard
from fbguard.sandbox import Sandbox
from tests.login.browsers import Browser, guard_of


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def guard(sandbox) -> Iterator[Guard]:
    with guard_of(sandbox) as guard:
        yield guard


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def browser(kind, guard) -> Browser:
    return Browser(kind, guard, after="/home", scopes=["email"])
