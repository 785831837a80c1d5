"""The figures as a plot in SVG: a row of panels for each case, a panel for each measure.

A bar is a median; the line on it reaches from the smallest to the largest value. Each panel has its
own scale, which begins at zero.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from measure.peers.figures import summary
from measure.peers.report import MEASURES, formatter

OURS, THEIRS, LINE = "#0b6e4f", "#a9b4c2", "#30363d"
PANEL, ROW, MARGIN = 2.3, 0.26, 0.7  # inches: a panel's width, a bar's height, a case's title


def draw_panel(
    axes: Axes, measure: str, rows: Mapping[str, Sequence[float]], ours: str, names: bool
) -> None:
    """Draw the bars of a measure; rows contain each contender's values, possibly none."""
    axes.set_axis_on()
    axes.set_frame_on(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(rows)), rows.keys() if names else [""] * len(rows))
    axes.tick_params(left=False)
    for position, (name, values) in enumerate(rows.items()):
        if values:
            found = summary(values)
            colour = OURS if name.startswith(ours) else THEIRS
            axes.barh(position, found.median, height=0.74, color=colour)
            axes.hlines(position, found.low, found.high, color=LINE, linewidth=1)
            label = f" {formatter(measure)(found.median)}"
            axes.text(found.high, position, label, verticalalignment="center")
    axes.set_xlim(left=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def draw(found: Mapping[str, Any], ours: str, measures: Mapping[str, str]) -> Figure:
    """Return the figure with all panels."""
    cases = found["cases"]
    columns = [
        [name for name in measures if any(name in each for each in case["values"].values())]
        for case in cases
    ]
    heights = [len(case["values"]) * ROW + MARGIN for case in cases]
    width = (max(map(len, columns)) + 0.5) * PANEL
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(cases), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, case, shown in zip(parts, cases, columns, strict=True):
        part.suptitle(case["title"], x=0.01, horizontalalignment="left", fontweight="bold")
        panels = part.subplots(1, max(map(len, columns)), squeeze=False)[0]
        for axes in panels:
            axes.set_axis_off()
        for number, (axes, measure) in enumerate(zip(panels, shown, strict=False)):
            rows = {name: each.get(measure, ()) for name, each in case["values"].items()}
            axes.set_title(measures[measure], loc="left", fontsize=9)
            draw_panel(axes, measure, rows, ours, names=number == 0)
    return figure


def svg(
    found: Mapping[str, Any], ours: str = "slipway", measures: Mapping[str, str] = MEASURES
) -> str:
    """Return the plot; ours are the contenders whose names begin with this text."""
    output = io.StringIO()
    title = f"Median and spread; {ours} compared with its peers"
    with matplotlib.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "text.color": LINE,
            "text.parse_math": False,  # a $ in a name is a $
            "ytick.color": LINE,
            "svg.fonttype": "none",  # texts stay texts
            "svg.hashsalt": "slipway",  # the same figures give the same bytes
        }
    ):
        figure = draw(found, ours, measures)
        figure.savefig(output, format="svg", metadata={"Date": None, "Title": title})
    return output.getvalue()
