"""Rows of a table: what a request took, and what of that a guard has added to its bare app."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import fbguard
from benchmarks.timing import Spread

_CPU_INFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Line:
    """Microseconds per request. ``added`` are the differences to the row ``base`` of the same rounds."""

    name: str
    spread: Spread
    base: str | None = None
    added: Spread | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Return the line of a part's JSON."""
        added = data["added"]
        spread = Spread(**data["spread"])
        return cls(data["name"], spread, data["base"], None if added is None else Spread(**added))


def lines_of(means: Mapping[str, Sequence[float]], bases: Mapping[str, str | None]) -> list[Line]:
    """Return a line for each contender, whose means of all rounds stand side by side."""
    found: list[Line] = []
    for name, base in bases.items():
        added = None
        if base is not None:
            added = Spread.of([mean - other for mean, other in zip(means[name], means[base], strict=True)])
        found.append(Line(name, Spread.of(means[name]), base, added))
    return found


def added_ratio(lines: Iterable[Line], name: str, other: str) -> float | None:
    """Return how often the median of what ``other`` adds goes into what ``name`` adds.

    None if one of them was not measured or the lower one adds nothing.
    """
    added = {line.name: line.added for line in lines}
    upper, lower = added.get(name), added.get(other)
    if upper is None or lower is None or lower.median <= 0:
        return None
    return upper.median / lower.median


def whole_ratio(lines: Iterable[Line], name: str, other: str) -> float | None:
    """Return how often the median of ``other`` goes into that of ``name``; None if one was not measured."""
    medians = {line.name: line.spread.median for line in lines}
    if name not in medians or other not in medians:
        return None
    return medians[name] / medians[other]


def table(lines: Sequence[Line], of_what: str = "microseconds per request") -> Iterator[str]:
    """Give lines of text for people."""
    width = max(len(line.name) for line in lines) + 2
    yield f"{of_what:<{width}}{'min':>9}{'median':>9}{'max':>9}   {'added (median)':<16}over"
    for line in lines:
        spread = line.spread
        added = "" if line.added is None else f"{line.added.median:.2f}"
        yield (
            f"{line.name:<{width}}{spread.min:9.2f}{spread.median:9.2f}{spread.max:9.2f}"
            f"   {added:<16}{line.base or ''}".rstrip()
        )


def about(*packages: str) -> dict[str, Any]:
    """Return where and with what a part was run."""
    versions: dict[str, str] = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "fbguard": fbguard.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}{_threading()}",
        "machine": f"{os.cpu_count()} processors ({_processor()}), {platform.system()} {platform.machine()}",
        "packages": versions,
    }


def heading(what: Mapping[str, Any]) -> str:
    """Return the same as text."""
    packages = ", ".join(f"{name} {version}" for name, version in what["packages"].items())
    said = f"fbguard {what['fbguard']}, {what['python']}, {what['machine']}"
    return f"{said}; {packages}" if packages else said


def as_data(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return lines as JSON data."""
    return [asdict(line) for line in lines]


def _threading() -> str:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return ""
    is_on = getattr(sys, "_is_gil_enabled", lambda: True)()
    return " free-threaded" + (" (lock enabled)" if is_on else "")


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
