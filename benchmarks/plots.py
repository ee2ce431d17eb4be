"""Figures of a run as PNG and SVG; needs matplotlib."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.lines import Line

_OURS, _FLOOR, _OTHER, _BARE = "#1f6f4a", "#8fbf9f", "#5b7fa6", "#b5b5b5"
_WIDTH: Final = 8.0  # inches
_DPI: Final = 110
_SETTINGS: Final = {
    "svg.hashsalt": "fbguard",
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
}

Bar = tuple[str, float, float, float]  # name, least, median, greatest


def draw(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw what was run into a folder; returns the parts that have a figure, which bears their name."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    with plt.rc_context(_SETTINGS):
        for part, make in _FIGURES.items():
            if part not in results:
                continue
            figure = make(plt, results[part])
            figure.suptitle(_TITLES[part], x=0.01, ha="left", fontsize=10)
            figure.tight_layout()
            figure.savefig(folder / f"{part}.png", dpi=_DPI, metadata={"Software": None})
            figure.savefig(folder / f"{part}.svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)
            names.append(part)
    return names


def _colour(name: str, other: str) -> str:
    for word, colour in (("fbguard", _OURS), ("guarded", _OURS), ("floor", _FLOOR), ("no-op", _BARE)):
        if word in name:
            return colour
    return _BARE if name.endswith(("app", "bare")) or name.startswith("bare") else other


def _bars(axes: Any, bars: Sequence[Bar], *, log: bool = False, other: str = _OTHER) -> None:
    """Draw medians as bars, with whiskers from the least to the greatest."""
    places = range(len(bars))
    medians = [median for _, _, median, _ in bars]
    below = [max(median - least, 0.0) for _, least, median, _ in bars]
    above = [max(most - median, 0.0) for _, _, median, most in bars]
    colours = [_colour(name, other) for name, *_ in bars]
    axes.barh(places, medians, color=colours, height=0.7)
    axes.errorbar(
        medians, places, xerr=[below, above], fmt="none", ecolor="#444444", elinewidth=0.7, capsize=2
    )
    axes.set_yticks(places, [name for name, *_ in bars])
    axes.invert_yaxis()
    if log:
        axes.set_xscale("log")
    for place, median in zip(places, medians, strict=True):
        axes.annotate(
            f"{median:.2f}" if median < 10 else f"{median:,.0f}",
            (median, place),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=7,
            color="#222222",
        )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _hit(plt: Any, data: Mapping[str, Any]) -> Any:
    found = data["microseconds"]
    bars = [
        (name, one["min"], one["median"], min(one["max"], 3 * one["median"])) for name, one in found.items()
    ]
    figure, axes = plt.subplots(figsize=(_WIDTH, 3.4))
    _bars(axes, bars)
    return figure


def _peers(plt: Any, data: Mapping[str, Any]) -> Any:
    lines = [Line.read(one) for one in data["lines"]]
    bars = sorted(_added(lines), key=lambda bar: bar[2])
    figure, axes = plt.subplots(figsize=(_WIDTH, 0.5 + 0.3 * len(bars)))
    _bars(axes, bars, log=True)
    return figure


def _added(lines: Sequence[Line]) -> Iterator[Bar]:
    for line in lines:
        if line.added is not None and line.added.median > 0 and "no-op" not in line.name:
            least = max(line.added.min, line.added.median / 3)
            yield line.name, least, line.added.median, min(line.added.max, 3 * line.added.median)


def _scale(plt: Any, data: Mapping[str, Any]) -> Any:
    parts = [part for part in ("tokens", "rules", "threads") if part in data]
    figure, all_axes = plt.subplots(1, max(len(parts), 1), figsize=(_WIDTH + 2, 3.2), squeeze=False)
    for axes, part in zip(all_axes[0], parts, strict=False):
        lines = [Line.read(one) for one in data[part]]
        bars = [
            (line.name, line.spread.min, line.spread.median, min(line.spread.max, 3 * line.spread.median))
            for line in lines
        ]
        _bars(axes, bars, other=_OURS)
        axes.set_title(part, loc="left", fontsize=9)
    return figure


def _servers(plt: Any, data: Mapping[str, Any]) -> Any:
    bars = [
        (f"{one['server']}: {one['name']}", one["middle"], one["best"], one["best"]) for one in data["rates"]
    ]
    figure, axes = plt.subplots(figsize=(_WIDTH, 0.8 + 0.28 * len(bars)))
    _bars(axes, bars)
    axes.axvline(1.0, color="#444444", linewidth=0.7)
    return figure


Make = Callable[[Any, Mapping[str, Any]], Any]
_FIGURES: Final[Mapping[str, Make]] = {"hit": _hit, "peers": _peers, "scale": _scale, "servers": _servers}
_TITLES: Final = {
    "hit": "A known token: microseconds per request (median; whiskers: least to greatest, cut at 3 x)",
    "peers": "What a guard adds to its bare app: microseconds per request (median; log scale)",
    "scale": "fbguard around a bare app: microseconds per request (median)",
    "servers": "Requests per second, times the unguarded app (best over best; whisker: median over median)",
}
