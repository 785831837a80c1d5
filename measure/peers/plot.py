"""The figures as a picture: one row of bars for each measure of each case, in SVG.

A bar is a median, the line on it the smallest and the largest value; each panel has its own scale
from zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from measure.peers.figures import summary
from measure.peers.report import MEASURES, formatter

LABELS, PANEL, BAR, GAP, TEXT = 90, 170, 14, 5, 12  # pixels; the names' width may be another
OURS, THEIRS, LINE = "#0b6e4f", "#a9b4c2", "#30363d"


def text(x: float, y: float, words: str, style: str = "") -> str:
    """A line of text whose baseline begins at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def bar(x: float, y: float, measure: str, values: Sequence[float], full: float, colour: str) -> str:
    """One contender's median with its spread and its value; `full` fills the panel."""
    found, width = summary(values), PANEL - 70
    scale = width / full if full else 0.0
    middle = y + BAR / 2
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(found.median * scale, 1):.1f}"'
        f' height="{BAR}" fill="{colour}"/>',
        f'<path d="M{x + found.low * scale:.1f} {middle:.1f}H{x + found.high * scale:.1f}"'
        f' stroke="{LINE}"/>',
        text(x + found.high * scale + 4, middle + 4, formatter(measure)(found.median)),
    ]
    return "".join(parts)


def panel(x: float, y: float, measure: str, rows: Mapping[str, Sequence[float]], ours: str) -> str:
    """One measure: a bar for each contender. rows: contender -> values, maybe none."""
    full = max(max(values) for values in rows.values() if values)
    parts = []
    for number, (name, values) in enumerate(rows.items()):
        if values:
            top = y + 8 + number * (BAR + GAP)
            colour = OURS if name.startswith(ours) else THEIRS
            parts.append(bar(x, top, measure, values, full, colour))
    return "".join(parts)


def block(
    y: float, case: Mapping[str, Any], ours: str, headings: Mapping[str, str], labels: float
) -> tuple[str, float]:
    """One case: its title, its contenders' names, its panels; and where the next one begins."""
    values: Mapping[str, Mapping[str, Sequence[float]]] = case["values"]
    measures = [name for name in headings if any(name in each for each in values.values())]
    parts = [text(10, y, case["title"], 'font-size="14" font-weight="bold"')]
    top = y + 24
    for number, name in enumerate(values):
        parts.append(text(10, top + 8 + number * (BAR + GAP) + TEXT - 1, name))
    for number, measure in enumerate(measures):
        rows = {name: each.get(measure, ()) for name, each in values.items()}
        left = labels + number * PANEL
        parts.append(text(left, top, headings[measure], 'font-weight="bold"'))
        parts.append(panel(left, top, measure, rows, ours))
    return "".join(parts), top + 8 + len(values) * (BAR + GAP) + 30


def svg(
    found: Mapping[str, Any],
    ours: str = "slipway",
    measures: Mapping[str, str] = MEASURES,
    labels: float = LABELS,
) -> str:
    """The whole picture; ours are the contenders whose names begin so."""
    parts, y = [], 28.0
    for case in found["cases"]:
        drawn, y = block(y, case, ours, measures, labels)
        parts.append(drawn)
    widest = max(
        (len({name for each in case["values"].values() for name in each} & set(measures)))
        for case in found["cases"]
    )
    width, height = labels + widest * PANEL, y - 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}"'
        f' viewBox="0 0 {width} {height:.0f}" font-family="sans-serif" font-size="{TEXT}"'
        f' fill="{LINE}"><title>Median and spread; {ours} beside its peers</title>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )
