"""What comes out of a load: its figures, and those of its promises that were broken."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a load, and those of its promises that were broken."""

    figures: Mapping[str, float]
    broken: Sequence[str]


def outcome_of(figures: Mapping[str, float], promises: Mapping[str, bool]) -> Outcome:
    """Return the outcome of a load that made these promises, and kept those that are True."""
    return Outcome(figures, [name for name, is_kept in promises.items() if not is_kept])


def line(name: str, outcome: Outcome) -> str:
    """Return an outcome as text for people."""
    figures = ", ".join(f"{key} {value:.6g}" for key, value in outcome.figures.items())
    verdict = "holds" if not outcome.broken else f"DOES NOT HOLD ({'; '.join(outcome.broken)})"
    return f"{name}: {figures}: {verdict}"


def tell(runs: Mapping[str, Callable[[], Outcome]]) -> int:
    """Run each and print its line; return the command's exit code, 1 if a promise was broken.

    What servers have said while it ran is shown only beside what went wrong.
    """
    is_kept = True
    for name, run in runs.items():
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                outcome = run()
        except BaseException:
            sys.stderr.write(said.getvalue())
            raise
        if outcome.broken:
            is_kept = False
            sys.stderr.write(said.getvalue())
        print(line(name, outcome), flush=True)
    return 0 if is_kept else 1
