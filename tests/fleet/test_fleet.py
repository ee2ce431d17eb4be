"""The stories of benchmarks/histories.py in short: what they promise holds on any machine."""

from __future__ import annotations

import pytest

from benchmarks import histories
from benchmarks.histories import STORIES
from benchmarks.loads_outcome import Outcome, line
from tests.redis_servers import needed

ELSEWHERE = {"hang", "failover", "cluster"}  # for the command: they take long, and others test these, too

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STORIES if name not in ELSEWHERE])
def test_it_holds(name):
    needed()
    _, short = STORIES[name]
    outcome = short()
    print(line(name, outcome))
    assert not outcome.broken, line(name, outcome)


def test_the_command_runs_one_story_or_all(monkeypatch, capsys):
    def story(name: str) -> Outcome:
        print(f"a server of {name}")
        return Outcome({"accepts": 1}, ["none"] if name == "b" else [])

    monkeypatch.setattr(
        histories,
        "STORIES",
        {name: (lambda name=name: story(name), lambda name=name: story(f"{name}, short")) for name in "ab"},
    )
    assert histories.main([]) == 1
    assert histories.main(["--only", "b", "--short"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "a: accepts 1: holds",
        "b: accepts 1: DOES NOT HOLD (none)",
        "b: accepts 1: holds",
    ]
    assert shown.err == "a server of b\n"  # of no other
