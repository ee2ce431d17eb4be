"""The loads of benchmarks/loads.py in short: what they promise holds on any machine."""

from __future__ import annotations

import pytest

from benchmarks import loads
from benchmarks.loads import LOADS
from benchmarks.loads_callers import percentile
from benchmarks.loads_graph import Seen
from benchmarks.loads_outcome import Outcome, line

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADS)
def test_it_holds(name):
    _, short = LOADS[name]
    outcome = short()
    assert not outcome.broken, line(name, outcome)


def test_the_command_runs_one_load_or_all(monkeypatch, capsys):
    run = []

    def load(name: str) -> Outcome:
        run.append(name)
        return Outcome({"calls": len(run)}, ["one call"] if len(run) == 2 else [])

    monkeypatch.setattr(
        loads,
        "LOADS",
        {name: (lambda name=name: load(name), lambda name=name: load(f"{name}, short")) for name in "ab"},
    )
    assert loads.main([]) == 1
    assert loads.main(["--only", "b", "--short"]) == 0
    assert run == ["a", "b", "b, short"]
    assert capsys.readouterr().out.splitlines() == [
        "a: calls 1: holds",
        "b: calls 2: DOES NOT HOLD (one call)",
        "b: calls 3: holds",
    ]


@pytest.mark.parametrize(
    ("moments", "most"), [([], 0), ([5.0], 1), ([0.0, 0.5, 0.99, 1.0, 1.4], 4), ([0.0, 1.0, 2.0], 1)]
)
def test_the_busiest_second(moments, most):
    assert Seen(moments=moments).busiest_second == most


def test_percentiles():
    assert percentile([], 0.99) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile(range(100), 0.99) == 99
