"""``fbguard audit``: every stored token of a file, looked up."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.progress import Progress

from fbguard.cli.asking import WrongUse
from fbguard.cli.findings import Found, show
from fbguard.cli.guards import one_off_guard
from fbguard.core.credentials import is_id_token
from fbguard.core.errors import Refused
from fbguard.core.secret import Secret
from fbguard.debugger.report import need_for, report_of
from fbguard.guard import Guard

_STDIN: Final = "-"
_AT_ONCE: Final = 10
_PATIENCE: Final = 2.0  # seconds, of the ten that a look-up has
_TRIES: Final = 5  # of a token that nobody can tell of, each after the time that Graph asks for
_DONT_KNOW: Final = 503


@dataclass(frozen=True, slots=True)
class Stored:
    """A token and the line of the file that it stands in, the first being 1."""

    line: int
    token: Secret


def run(
    file: str,
    *,
    column: str | None,
    rate: float,
    app_id: str | None,
    graph_url: str | None,
    graph_version: str | None,
    as_json: bool,
) -> int:
    """Look every token of a file up and print what was found; returns the exit code.

    ``column`` is the name of a column of a CSV file with a header; without it each line is a token.
    ``rate`` is calls a second. 0: all are valid, 1: some are not, 3: of some nobody can tell. Raises
    :class:`fbguard.cli.asking.WrongUse`.
    """
    stored = _read(file, column)
    id_tokens = any(is_id_token(one.token) for one in stored)
    with one_off_guard(
        id_tokens=id_tokens, rate=rate, app_id=app_id, graph_url=graph_url, graph_version=graph_version
    ) as guard:
        found = asyncio.run(_audited(guard, stored, at_once=_at_once(rate), as_json=as_json))
        now = guard.now()
    if not as_json:
        show(found, now, with_commas=_with_commas(stored) if column is None else 0)
    answers = {one.valid for one in found}
    return 3 if None in answers else int(False in answers)


# -- the file ----------------------------------------------------------------------------------------------


def _read(file: str, column: str | None) -> list[Stored]:
    try:
        if file == _STDIN:
            piped = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
            stored = list(_tokens(piped, column))
            piped.detach()
        else:
            with Path(file).open(encoding="utf-8-sig", newline="") as opened:
                stored = list(_tokens(opened, column))
    except OSError as error:
        raise WrongUse(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUse("the file is no text in UTF-8") from None
    except csv.Error as error:
        raise WrongUse(f"the file is no CSV: {error}") from None
    if not stored:
        raise WrongUse("there is no token in the file")
    return stored


def _tokens(opened: TextIO, column: str | None) -> Iterator[Stored]:
    if column is None:
        for number, line in enumerate(opened, 1):
            if line.strip():
                yield Stored(number, Secret(line.strip()))
        return
    rows = csv.DictReader(opened, strict=True)
    if column not in (rows.fieldnames or ()):
        raise WrongUse(f"the file has no column {column!r} in its first line")
    begins = rows.line_num + 1  # a field may have lines of its own
    for row in rows:
        if token := (row[column] or "").strip():
            yield Stored(begins, Secret(token))
        begins = rows.line_num + 1


def _with_commas(stored: Sequence[Stored]) -> int:
    """Return how many lines hold what no token does and CSV is made of."""
    return sum(one.token.reveal().count(",") > 0 for one in stored)


def _at_once(rate: float) -> int:
    """Return how many may wait for their moment together, and none of them so long that its time runs out."""
    return max(1, min(_AT_ONCE, int(rate * _PATIENCE)))


# -- the look-ups ------------------------------------------------------------------------------------------


async def _audited(guard: Guard, stored: Sequence[Stored], *, at_once: int, as_json: bool) -> list[Found]:
    """Look all up, some at once; what was found is printed in the order of the file with ``as_json``."""
    found: list[Found] = []
    progress = _bar(as_json=as_json)
    async with guard:
        with progress or nullcontext():
            bar = None if progress is None else progress.add_task("Looking up", total=len(stored))
            async for one in _in_order(guard, stored, at_once):
                found.append(one)
                if as_json:
                    sys.stdout.write(f"{json.dumps(one.as_json())}\n")
                if progress is not None and bar is not None:
                    progress.advance(bar)
    return found


def _bar(*, as_json: bool) -> Progress | None:
    """Return a bar on standard error, if that is a terminal and no objects are printed there, too."""
    if not sys.stderr.isatty() or (as_json and sys.stdout.isatty()):
        return None
    console = Console(stderr=True)
    return Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


async def _in_order(guard: Guard, stored: Sequence[Stored], at_once: int) -> AsyncIterator[Found]:
    waiting: list[asyncio.Task[Found]] = []
    try:
        for one in stored:
            if len(waiting) == at_once:
                yield await waiting.pop(0)
            waiting.append(asyncio.create_task(_found(guard, one)))
        while waiting:
            yield await waiting.pop(0)
    finally:
        for task in waiting:
            task.cancel()


async def _found(guard: Guard, stored: Stored) -> Found:
    refused = await _refusal(guard, stored.token)
    report = report_of(guard, stored.token, refused)
    info = report.info
    facts = info if report.reads else None
    return Found(
        line=stored.line,
        fingerprint=guard.signer.fingerprint(stored.token),
        valid=report.valid,
        reason=None if refused is None else refused.reason,
        user_id=None if info is None else info.user_id,
        scopes=None if facts is None else tuple(sorted(facts.scopes)),
        expires_at=None if facts is None else facts.expires_at,
        data_access_expires_at=None if facts is None else facts.data_access_expires_at,
    )


async def _refusal(guard: Guard, token: Secret) -> Refused | None:
    """Return why a token is refused; where nobody can tell, after having waited as long as Graph asks for."""
    refused: Refused | None = None
    for _ in range(_TRIES):
        if refused is not None:
            await _pause(refused.retry_after or 1)
        try:
            await guard.acheck(token.reveal(), need_for(token))
        except Refused as refusal:
            refused = refusal
        else:
            return None
        if refused.status != _DONT_KNOW or refused.reason == "misconfigured":
            break
    return refused


_pause = asyncio.sleep
