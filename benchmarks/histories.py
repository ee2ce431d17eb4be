"""What must hold while sessions end in a fleet of workers with one store, and the figures: all well, links
cut, Redis killed or hanging, a failover, workers that come later, worker and Redis killed at once, a guard
used before the fork.

Real servers, four processes of uvicorn and four workers of gunicorn, and a real Redis, on loopback. Workers
write down every verdict, and every end when they acknowledge it; a checker reads that afterwards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from benchmarks.loads_outcome import Outcome, tell
from tests.fleet.forked import preloaded
from tests.fleet.stories import cuts, failover, losses, newcomers, outage, revokes

STORIES: Final[Mapping[str, tuple[Callable[[], Outcome], Callable[[], Outcome]]]] = {  # long, short
    "revokes": (partial(revokes, count=1000), partial(revokes, count=200, per_second=20)),
    "cuts": (partial(cuts, count=100), partial(cuts, count=100, per_second=20)),
    "outage": (partial(outage, seconds=30), partial(outage, seconds=3)),
    "hang": (partial(outage, seconds=30, hangs=True), partial(outage, seconds=2, hangs=True)),
    "failover": (failover, failover),
    "cluster": (partial(revokes, count=200, cluster=True), partial(revokes, count=50, cluster=True)),
    "newcomers": (partial(newcomers, count=50, times=10), partial(newcomers, count=50, times=1)),
    "losses": (partial(losses, times=20), partial(losses, times=2)),
    "preloaded": (partial(preloaded, requests=4000), partial(preloaded, requests=4000)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--only", choices=STORIES, help="one story")
    given = parser.parse_args(arguments)
    names: list[str] = [given.only] if given.only else list(STORIES)
    return tell({name: STORIES[name][1 if given.short else 0] for name in names})


if __name__ == "__main__":
    sys.exit(main())
