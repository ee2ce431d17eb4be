"""The benchmark of open connections measures what it says; no test says how much anything costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import live

ROOT = Path(__file__).parents[2]


def test_every_connection_is_watched_and_none_is_left():
    public, guarded = (live.measure(20, guarded=guarded) for guarded in (False, True))
    assert (public.left, guarded.left) == (0, 0)
    assert guarded.each > public.each > 0
    assert min(guarded.opening, guarded.ending, guarded.tick) > 0
    lines = list(live.report(public, guarded))
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "memory, bytes a connection", "opening, microseconds each", "ending, microseconds each",
        "ending all, milliseconds", "a tick, microseconds", "left in the registry",
    ]  # fmt: skip


def test_the_command_prints_a_table():
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.live", "--connections", "10"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "10 open WebSockets" in ran.stdout


def test_the_command_refuses_no_connections(capsys):
    with pytest.raises(SystemExit) as caught:
        live.main(["--connections", "0"])
    assert caught.value.code == 2
    assert "at least 1" in capsys.readouterr().err
