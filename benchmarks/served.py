"""One row of :mod:`benchmarks.peers` as the app of a real server, named by the environment."""

from __future__ import annotations

import importlib
import os
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.world import Row, World, world

VARIABLE: Final = "FBGUARD_BENCHMARK_ROW"  # a module of peers and a row's name: "flask:Flask app"

_stack = ExitStack()  # of the process: nothing closes it


def build(place: World, which: str) -> Row:
    """Return the row, without loading other frameworks than its own."""
    part, _, name = which.partition(":")
    module: Any = importlib.import_module(f"benchmarks.peers_{part}")
    row: Row = module.PEERS[name](place)
    return row


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = found = build(_stack.enter_context(world()), os.environ[VARIABLE]).app
    return found
