"""The sites, made once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.routers.sites import KINDS, Site, open_sites


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the corpora on one Python version only: routers do not differ between them."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def sites() -> Iterator[dict[str, Site]]:
    with open_sites() as opened:
        yield opened


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    """Give each site in turn."""
    return sites[request.param]


@pytest.fixture(autouse=True)
def _django_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep Django from writing down each of some thousand requests that lead nowhere."""
    caplog.set_level(logging.CRITICAL, "django")
