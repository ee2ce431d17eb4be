"""The clock that a sandbox and its guard share."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fbguard.sandbox import Sandbox


def test_it_runs_with_the_machines_clocks(sandbox: Sandbox) -> None:
    assert abs(sandbox.clock.time() - time.time()) < 1
    assert abs(sandbox.clock.monotonic() - time.monotonic()) < 1
    assert sandbox.clock is sandbox.clock


def test_advance_moves_both_and_adds_up(sandbox: Sandbox) -> None:
    sandbox.clock.advance(100)
    sandbox.clock.advance(0.5)
    assert 100.5 <= sandbox.clock.time() - time.time() + 0.1 < 101.5
    assert 100.5 <= sandbox.clock.monotonic() - time.monotonic() + 0.1 < 101.5
    assert repr(sandbox.clock) == "SandboxClock(offset=100.5)"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
def test_steps_that_are_refused(sandbox: Sandbox, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        sandbox.clock.advance(seconds)
    assert repr(sandbox.clock) == "SandboxClock(offset=0.0)"


@pytest.mark.parametrize("seconds", ["1", None, True])
def test_steps_that_are_no_number(sandbox: Sandbox, seconds: Any) -> None:
    with pytest.raises(TypeError, match="seconds"):
        sandbox.clock.advance(seconds)
