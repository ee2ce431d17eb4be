"""Examples on which oracle and guard once disagreed, kept as they were found."""

from __future__ import annotations

import json

import pytest

from tests.properties.harness import WAYS, Need, new_token
from tests.support import NOW, Reply, valid


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_valid", [True, False])
def test_an_error_that_is_null_is_not_what_graph_sends(world, way, is_valid):
    """The guard took ``"error": null`` beside ``is_valid: true`` for no error, and let the request in."""
    token = new_token()
    world.tell(token, valid(is_valid=is_valid, error=None))
    world.clock.wall = NOW
    values = [f"Bearer {token}"]
    assert world.ask(way, values, Need()) == world.right(values, Need()) == (503, "unavailable")


@pytest.mark.parametrize("way", WAYS)
def test_another_app_is_believed_only_when_graph_does_not_ask_for_patience(world, way):
    """The guard read the message of a top-level error before its ``is_transient``, and refused the token."""
    token = new_token()
    said = {"code": 100, "message": "(#100) The App_id in the input_token did not match the Viewing App"}
    world.tell(token, Reply(json.dumps({"error": {**said, "is_transient": True}}).encode(), 400))
    world.clock.wall = NOW
    values = [f"Bearer {token}"]
    assert world.ask(way, values, Need()) == world.right(values, Need()) == (503, "unavailable")
    world.tell(token, Reply(json.dumps({"error": said}).encode(), 400))
    assert world.ask(way, values, Need()) == world.right(values, Need()) == (401, "wrong_app")
