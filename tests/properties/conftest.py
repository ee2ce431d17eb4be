"""How long the property tests run, and how repeatably.

In CI (``CI`` is set) hypothesis draws the same examples on every run. ``FBGUARD_EXAMPLES`` is the number
of examples per property; ``--oracle-requests N`` (when pytest is pointed at this folder) or
``FBGUARD_ORACLE_REQUESTS`` (always) the number of requests that are compared with the oracle.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.properties.harness import World

ORACLE_REQUESTS = 20_000

settings.register_profile(
    "fbguard",
    max_examples=int(os.environ.get("FBGUARD_EXAMPLES", "150")),
    deadline=None,
    derandomize="CI" in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fbguard")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--oracle-requests", type=int, default=None, help="requests compared with the oracle")


@pytest.fixture
def oracle_requests(request: pytest.FixtureRequest) -> int:
    asked = request.config.getoption("--oracle-requests", default=None)
    return asked or int(os.environ.get("FBGUARD_ORACLE_REQUESTS", ORACLE_REQUESTS))


@pytest.fixture(scope="module")
def world():
    """One guard for a whole property; each example brings tokens of its own."""
    with World() as world:
        yield world
