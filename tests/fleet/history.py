"""What the workers of a fleet wrote down, and what is wrong with it. All times are of the host's clock."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ACCEPTED: Final = 200
REFUSED: Final = frozenset({401, 403})
UNAVAILABLE: Final = 503
FAULT: Final = 500

Pair = tuple[int, int]  # of a token's number and a process id


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a worker made of a request with a token; ``token`` is its number, ``user`` whom the app saw."""

    start: float
    end: float
    token: int
    status: int
    pid: int
    user: str = "-"


@dataclass(frozen=True, slots=True)
class End:
    """A session's end, as the worker that was asked for it saw it; ``is_done`` when it was acknowledged."""

    asked: float
    answered: float
    token: int
    is_done: bool
    pid: int


@dataclass(frozen=True, slots=True)
class History:
    """Everything that was written down, each part by time."""

    verdicts: Sequence[Verdict]
    ends: Sequence[End]

    def ends_by_token(self) -> dict[int, list[End]]:
        found: defaultdict[int, list[End]] = defaultdict(list)
        for end in self.ends:
            found[end.token].append(end)
        return dict(found)


Until = Callable[[End], float]  # when the last accept may begin, after a session's end


# -- writing and reading -----------------------------------------------------------------------------


class Diary:
    """A worker's own file; nothing waits in it, so that a worker may be killed. Made anew after a fork."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = self._file = -1

    def _write(self, *words: object) -> None:
        if self._pid != os.getpid():
            name = self._folder / f"{os.getpid()}.log"
            self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._pid = os.getpid()  # last: other threads of this process look at it, too
        os.write(self._file, f"{' '.join(map(str, words))}\n".encode())

    def verdict(self, start: float, end: float, token: str, status: int, user: str) -> None:
        self._write("verdict", start, end, token, status, user)

    def end(self, asked: float, answered: float, token: str, *, is_done: bool) -> None:
        self._write("end", asked, answered, token, int(is_done))


def read(folder: Path) -> History:
    """Return what all workers wrote so far."""
    verdicts: list[Verdict] = []
    ends: list[End] = []
    for path in folder.glob("*.log"):
        pid = int(path.stem)
        for kind, start, end, token, said, *more in map(str.split, path.read_text().splitlines()):
            if kind == "verdict":
                verdicts.append(Verdict(float(start), float(end), int(token), int(said), pid, *more))
            else:
                ends.append(End(float(start), float(end), int(token), said == "1", pid))
    return History(sorted(verdicts, key=lambda one: one.start), sorted(ends, key=lambda one: one.asked))


# -- judging -----------------------------------------------------------------------------------------------


def wrong_accepts(history: History, until: Until) -> list[Verdict]:
    """Return the accepts that began too late after an end that was acknowledged."""
    allowed = {
        token: min((until(end) for end in ends if end.is_done), default=float("inf"))
        for token, ends in history.ends_by_token().items()
    }
    return [
        one
        for one in history.verdicts
        if one.status == ACCEPTED and one.start > allowed.get(one.token, float("inf"))
    ]


def relapses(history: History) -> list[Verdict]:
    """Return the accepts by a worker that had refused the token before: sessions do not come back."""
    refused: dict[Pair, float] = {}
    found: list[Verdict] = []
    for one in history.verdicts:
        pair = (one.token, one.pid)
        if one.status in REFUSED:
            refused[pair] = min(one.end, refused.get(pair, one.end))
        elif one.status == ACCEPTED and one.start > refused.get(pair, float("inf")):
            found.append(one)
    return found


def wrong_rejects(history: History) -> list[Verdict]:
    """Return the refusals of tokens whose end nobody had asked for when the answer was given."""
    asked = {token: min(end.asked for end in ends) for token, ends in history.ends_by_token().items()}
    return [
        one
        for one in history.verdicts
        if one.status in REFUSED and one.end < asked.get(one.token, float("inf"))
    ]


def mix_ups(history: History, users: Mapping[int, str]) -> list[Verdict]:
    """Return the accepts in which the app saw somebody else than the token's user."""
    return [one for one in history.verdicts if one.status == ACCEPTED and one.user != users[one.token]]


def faults(history: History) -> list[Verdict]:
    """Return the answers of 500 and above that are not the honest 503."""
    return [one for one in history.verdicts if one.status >= FAULT and one.status != UNAVAILABLE]


def statuses(verdicts: Iterable[Verdict]) -> dict[int, int]:
    return dict(sorted(Counter(one.status for one in verdicts).items()))


# -- measuring -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Propagation:
    """Seconds from acknowledgements until a worker had heard of them: the truth is between two figures.

    ``accepts`` are to the last accept that began after it, 0 where there was none; ``refusals`` to the
    beginning of the first refusal. The worker that was told has nothing to hear.
    """

    accepts: list[float] = field(default_factory=list[float])
    refusals: list[float] = field(default_factory=list[float])


def propagation(history: History) -> dict[int, Propagation]:
    """Return, by process id, how long it took until a worker knew what others had acknowledged."""
    acknowledged = {end.token: end for end in reversed(history.ends) if end.is_done}
    last: defaultdict[Pair, float] = defaultdict(float)
    first: dict[Pair, float] = {}
    for one in history.verdicts:
        end = acknowledged.get(one.token)
        if end is None or end.pid == one.pid or one.start < end.answered:
            continue
        pair, after = (one.token, one.pid), one.start - end.answered
        if one.status == ACCEPTED:
            last[pair] = max(last[pair], after)
        elif one.status in REFUSED:
            first[pair] = min(first.get(pair, after), after)
    found: defaultdict[int, Propagation] = defaultdict(Propagation)
    for pair, after in first.items():
        found[pair[1]].accepts.append(last[pair])
        found[pair[1]].refusals.append(after)
    return dict(found)
