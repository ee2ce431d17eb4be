"""``fbguard doctor``: whether a guard can work here."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from fbguard.cli.checks import Check, examine
from fbguard.cli.guards import file_store
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.stores.sqlite import SQLiteStore

_STYLES = {"good": "green", "warning": "yellow", "bad": "red"}


def run(*, as_json: bool, store_file: str | None = None) -> int:
    """Look at everything and print it; returns the exit code: 1 if anything is bad.

    ``store_file`` is the path of a store in place of the environment's. Raises
    :class:`fbguard.cli.asking.WrongUse`.
    """
    store = None if store_file is None else file_store(store_file)
    logger, silent = logging.getLogger("fbguard"), logging.NullHandler()
    logger.addHandler(silent)  # what it says is among the checks
    try:
        checks = asyncio.run(_examined(None if as_json else Terminal(), store))
    finally:
        logger.removeHandler(silent)
    is_well = all(check.result != "bad" for check in checks)
    if as_json:
        found = {"ok": is_well, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    return 0 if is_well else 1


async def _examined(terminal: Terminal | None, store: SQLiteStore | None) -> list[Check]:
    sheet = None if terminal is None else Sheet(terminal)
    checks: list[Check] = []
    async for check in examine(store):
        checks.append(check)
        if terminal is not None and sheet is not None:
            signs = terminal.signs
            mark = {"good": signs.good, "warning": "!", "bad": signs.bad}[check.result]
            sheet.marked(mark, _STYLES[check.result], check.name, check.found)
            if check.help is not None:
                sheet.row("", check.help)
    if sheet is not None:
        sheet.gap()
        sheet.headline("", _summary(checks), "")
    return checks


def _summary(checks: Sequence[Check]) -> str:
    counted = Counter(check.result for check in checks)
    bad, warnings = counted["bad"], counted["warning"]
    told = [f"{bad} to mend"] * bool(bad) + [f"{warnings} to look at"] * bool(warnings)
    return f"{', '.join(told)}." if told else "All is well."
