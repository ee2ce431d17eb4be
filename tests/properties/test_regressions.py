"""Examples on which oracle and guard once disagreed, kept as they were found."""

from __future__ import annotations

import pytest

from tests.properties.harness import WAYS, Need, new_token
from tests.support import NOW, valid


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_valid", [True, False])
def test_an_error_that_is_null_is_not_what_graph_sends(world, way, is_valid):
    """The guard took ``"error": null`` beside ``is_valid: true`` for no error, and let the request in."""
    token = new_token()
    world.tell(token, valid(is_valid=is_valid, error=None))
    world.clock.wall = NOW
    values = [f"Bearer {token}"]
    assert world.ask(way, values, Need()) == world.right(values, Need()) == (503, "unavailable")
