"""A record as a picture: figures over steps where the case has them, and its ratios with their spread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from bench.record import Chart, Requirement

_STYLE = {"svg.hashsalt": "ixmodal", "svg.fonttype": "none", "font.size": 8}
"""The same figures make the same file; text stays text, which is smaller."""


def draw(path: Path, chart: Chart | None, requirements: list[Requirement]) -> bool:
    """Write an SVG; False where there is nothing to draw."""
    measured = [requirement for requirement in requirements if requirement.ratio]
    parts = [part for part in (chart, measured) if part]
    if not parts:
        return False
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6 * len(parts) + 1.5, 1.6 + 0.28 * max(5, len(measured))), layout="constrained")
        axes = figure.subplots(1, len(parts), squeeze=False)[0]
        if chart:
            _lines(axes[0], chart)
        if measured:
            _ratios(axes[-1], measured)
        figure.savefig(path, metadata={"Date": None})
    return True


def _lines(axis: Any, chart: Chart) -> None:
    for name, spreads in chart.series.items():
        points = [(step, spread) for step, spread in zip(chart.steps, spreads, strict=True) if spread]
        medians = [spread.median for _, spread in points]
        below = [spread.median - spread.least for _, spread in points]
        above = [spread.most - spread.median for _, spread in points]
        axis.errorbar([step for step, _ in points], medians, yerr=[below, above], marker="o", capsize=2, label=name)
    axis.set_xlabel(chart.across)
    axis.set_ylabel(chart.title)
    axis.set_ylim(bottom=0)
    axis.legend()


def _ratios(axis: Any, requirements: list[Requirement]) -> None:
    for place, requirement in enumerate(reversed(requirements)):
        spread = requirement.ratio
        assert spread
        error = [[spread.median - spread.least], [spread.most - spread.median]]
        color = "tab:green" if requirement.is_met else "tab:red"
        axis.errorbar(spread.median, place, xerr=error, marker="o", capsize=2, color=color)
        axis.plot([requirement.bound] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1)
    axis.set_yticks(range(len(requirements)), [requirement.what for requirement in reversed(requirements)])
    axis.set_xlim(left=0)
    axis.set_xlabel("ratio; the black line is what is wanted")
