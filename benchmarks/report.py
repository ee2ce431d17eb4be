"""A run as Markdown, and its place in ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.gate import targets
from benchmarks.hit import BARE, FLOOR, PROTOCOLS, VARIANTS
from benchmarks.lines import Line, heading
from benchmarks.peers import compared

DOCS: Final = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

_CAPTIONS: Final = {
    "hit": "A known token, in process",
    "peers": "What guards add",
    "scale": "Many tokens, rules, threads",
    "servers": "Under real servers",
}


def insert(page: str, figures: str) -> str:
    """Return the page with new figures between its markers; raises ValueError if they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{figures}\n{END}{after}"


def markdown(results: Mapping[str, Any], drawn: Iterable[str]) -> str:
    """Return all sections of a run."""
    drawn = set(drawn)
    lines: list[str] = []
    for part, make in _SECTIONS.items():
        if part not in results:
            continue
        lines += [f"### {_TITLES[part]}", "", f"{heading(results[part]['about'])}.", ""]
        if part in drawn:
            lines += [f"![{_CAPTIONS[part]}](figures/{part}.svg)", ""]
        lines += [*make(results[part]), ""]
    for name, data in results.get("pythons", {}).items():
        lines += [f"### {name}", "", *_hit(data["hit"]), ""]
        if "scale" in data:
            lines += [*_scale(data["scale"]), ""]
    lines += ["### What must hold", "", *_targets(results), ""]
    return "\n".join(lines)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(first: str, *others: str) -> list[str]:
    return [_row(first, *others), "|---|" + "---:|" * len(others)]


def _spread(one: Mapping[str, float] | None, digits: int = 2) -> str:
    if one is None:
        return "-"
    return "-".join(f"{one[key]:.{digits}f}" for key in ("min", "median", "max"))


def _name(name: str) -> str:
    return f"**{name}**" if "fbguard" in name or "guarded" in name else name


def _hit(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{data['rounds']} rounds of {data['requests']} requests; microseconds."
    yield ""
    yield from _head("", "min-median-max", "added (medians)", "x floor")
    found = data["microseconds"]
    for protocol in PROTOCOLS:
        bare = found[f"{protocol} {BARE}"]["median"]
        floor = found[f"{protocol} {FLOOR}"]["median"] - bare
        for variant in VARIANTS:
            one = found[f"{protocol} {variant}"]
            added = one["median"] - bare
            ratio = f"{added / floor:.2f}" if floor > 0 and variant != BARE else ""
            shown = f"{added:.2f}" if variant != BARE else ""
            yield _row(_name(f"{protocol} {variant}"), _spread(one), shown, ratio)


def _peers(data: Mapping[str, Any]) -> Iterator[str]:
    lines = [Line.read(one) for one in data["lines"]]
    ratios = {line.name: ratio for line, ratio in compared(lines)}
    yield from _head("", "us, min-median-max", "added (median)", "over", "x fbguard")
    for raw, line in zip(data["lines"], lines, strict=True):
        added = "" if line.added is None else f"{line.added.median:.2f}"
        ratio = ratios.get(line.name)
        shown = "" if ratio is None else f"{ratio:.2f}"
        yield _row(_name(line.name), _spread(raw["spread"]), added, line.base or "", shown)
    yield from _left_out(data)


def _left_out(data: Mapping[str, Any]) -> Iterator[str]:
    if data["left_out"]:
        yield ""
    for one in data["left_out"]:
        yield f"Left out: {one['name']} ({one['why']})."


def _timed(raw_lines: Sequence[Mapping[str, Any]], first: str) -> Iterator[str]:
    yield from _head(first, "us, min-median-max", "added (median)")
    for one in raw_lines:
        added = "" if one["added"] is None else f"{one['added']['median']:.2f}"
        yield _row(one["name"], _spread(one["spread"]), added)


def _decorators(data: Mapping[str, Any]) -> Iterator[str]:
    return _timed(data["lines"], "")


def _scale(data: Mapping[str, Any]) -> Iterator[str]:
    for part in ("tokens", "rules", "threads"):
        if part in data:
            yield from _timed(data[part], part)
            yield ""
    if "memory" in data:
        yield from _head("memory", "tokens", "bytes each")
        for one in data["memory"]:
            yield _row(one["kind"], f"{one['tokens']:,}", f"{one['each']:.0f}")
        yield ""
    if "collector" in data:
        columns = (
            "full collection, ms",
            "after `gc.freeze()`, ms",
            "longest pause while serving, ms",
            "of the time",
        )
        yield from _head("collector, tokens cached", *columns)
        for one in data["collector"]:
            times = (f"{one[key]:.1f}" for key in ("full", "frozen", "worst"))
            yield _row(f"{one['tokens']:,}", *times, f"{one['spent']:.1%}")


def _servers(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{data['rounds']} slices per row, by turns."
    yield ""
    yield from _head("", "requests/s, min-median-max", "x unguarded, best/best", "medians")
    for one in data["rates"]:
        name = _name(f"{one['server']}: {one['name']}")
        yield _row(name, _spread(one["rate"], 0), f"{one['best']:.3f}", f"{one['middle']:.3f}")
    yield from _left_out(data)


def _targets(results: Mapping[str, Any]) -> Iterator[str]:
    yield from _head("ratio of medians in one run", "found", "bound", "")
    for one in targets(results):
        found = "-" if one.found is None else f"{one.found:.2f}"
        word = {True: "met", False: "**missed**", None: "not measured"}[one.is_met]
        yield _row(one.what, found, one.text, word)


_TITLES: Final = {
    "hit": "The hit path",
    "peers": "Beside others",
    "decorators": "The decorator under a door",
    "scale": "Scale",
    "servers": "Under real servers",
}
_SECTIONS: Final = {
    "hit": _hit,
    "peers": _peers,
    "decorators": _decorators,
    "scale": _scale,
    "servers": _servers,
}
