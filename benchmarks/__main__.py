"""All of it: ``python -m benchmarks``; what a hit costs, beside its floor and beside others, and at scale.

Each part runs in a process of its own, so that no framework that one of them loads weighs on another, and
alone by its own command: ``python -m benchmarks.hit``, ``.decorators``, ``.peers``, ``.scale``, ``.servers``,
``.cold``, ``.fleet``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import plots, report
from benchmarks.gate import targets, verdicts

PARTS: Final = ("hit", "decorators", "peers", "scale")  # of every run
MORE: Final = ("servers", "cold", "fleet")  # by options; the last two print tables of their own
SAVED: Final = report.DOCS / "figures" / "figures.json"

_ROOT: Final = Path(__file__).parents[1]
_QUICK: Final = {
    "hit": ("--rounds", "30", "--requests", "50"),
    "decorators": ("--rounds", "30", "--requests", "50"),
    "peers": ("--rounds", "10", "--requests", "30"),
    "scale": ("--rounds", "10", "--requests", "30", "--tokens", "10000"),
    "servers": ("--rounds", "2"),
    "cold": ("--rounds", "1", "--tokens", "100"),
    "fleet": ("--users", "500", "--timed", "50"),
}
_OF_OTHERS: Final = ("hit", "scale")  # what other Pythons run


def run(part: str, *, python: str, quick: bool) -> dict[str, Any]:
    """Run a part in a new process; returns its JSON data. Raises CalledProcessError."""
    print(f"... {part} ({python})", file=sys.stderr, flush=True)
    command = [python, "-m", f"benchmarks.{part}", "--json", *(_QUICK[part] if quick else ())]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_aloud(part: str, *, quick: bool) -> None:
    """Run a part that prints its own tables."""
    command = [sys.executable, "-m", f"benchmarks.{part}", *(_QUICK[part] if quick else ())]
    subprocess.run(command, cwd=_ROOT, check=True)


def write(results: dict[str, Any]) -> None:
    """Put a run into the manual; parts that were not run stay as they were."""
    saved: dict[str, Any] = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    both = {**saved, **results}
    try:
        plots.draw(results, SAVED.parent)
    except ImportError as exc:
        print(f"left out: the plots: {exc.name} is not installed")
    SAVED.parent.mkdir(exist_ok=True)
    SAVED.write_text(json.dumps(both, indent=1) + "\n")
    drawn = {file.stem for file in SAVED.parent.glob("*.svg")}
    page = report.DOCS / "performance.md"
    page.write_text(report.insert(page.read_text(), report.markdown(both, drawn)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=(*PARTS, *MORE), help="run this part; repeatable")
    for part in MORE:
        parser.add_argument(f"--{part}", action="store_true", help=f"run benchmarks.{part}, too")
    parser.add_argument("--quick", action="store_true", help="few rounds: to try it, not for figures")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH",
        help="also run hit and scale with this interpreter, which has fbguard's dependencies; repeatable",
    )  # fmt: skip
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a ratio that must hold does not")
    parser.add_argument(
        "--write", action="store_true", help="write tables and plots into docs/performance.md"
    )
    return parser


def _run_all(given: argparse.Namespace) -> dict[str, Any]:
    chosen: Sequence[str] = given.only or [*PARTS, *(part for part in MORE if getattr(given, part))]
    results: dict[str, Any] = {
        part: run(part, python=sys.executable, quick=given.quick)
        for part in (*PARTS, "servers")
        if part in chosen
    }
    others: dict[str, Any] = {}
    for python in given.python:
        found = {part: run(part, python=python, quick=given.quick) for part in _OF_OTHERS}
        others[found["hit"]["about"]["python"]] = found
    if others:
        results["pythons"] = others
    for part in MORE[1:]:
        if part in chosen:
            run_aloud(part, quick=given.quick)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the command; returns the exit code."""
    given = _parser().parse_args(arguments)
    results = _run_all(given)
    print(report.markdown(results, ()))
    if given.write:
        write(results)
    found = list(targets(results))
    if given.gate:
        print(*verdicts(found), sep="\n")
        return int(any(one.is_met is False for one in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
