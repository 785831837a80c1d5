"""Tables in Markdown, written from the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from measure.peers.figures import ratios, summary

BEGIN = "<!-- figures: written by make bench -->"
END = "<!-- end of figures -->"
# The others are compared with the first of these contenders that a case has.
REFERENCES = ("uv", "pip wheel")

# the heading of each measure, in the order of the table
MEASURES = {
    "cold_s": "cold build",
    "rebuild_s": "rebuild after one line",
    "image_bytes": "image",
    "deploy_bytes": "first deploy",
    "redeploy_bytes": "deploy after one line",
    "start_s": "start-up",
    "wheels_s": "wheels, nothing cached",
}
STEPS = {
    "cold_base_s": "base",
    "cold_tools_s": "tools",
    "cold_builder_s": "builder",
    "cold_wheels_s": "wheels",
    "cold_image_s": "image",
    "cold_all_s": "all of it with the compiler, `make base builder wheels image`",
    "nothing_s": "`make wheels image` with nothing to do",
    "builder_start_s": "starting the builder for nothing",
}


def seconds(value: float) -> str:
    """Return a time in seconds with three digits."""
    return (
        f"{value:.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"
    )


def size(value: float) -> str:
    """Return a number of bytes in decimal units with three digits."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            number = value / factor
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{value:.0f} B"


def formatter(measure: str) -> Callable[[float], str]:
    """Return the function that formats a measure's values, by the unit in its name."""
    return seconds if measure.endswith("_s") else size


def multiple(times: float) -> str:
    """Return a ratio with two decimals; a very small one with one digit."""
    return f"{times:.2f}" if times >= 0.1 or not times else f"{times:.1g}"


def cell(measure: str, values: Sequence[float]) -> str:
    """Return a median, with the spread if there is one."""
    write, found = formatter(measure), summary(values)
    text = f"**{write(found.median)}**"
    if write(found.low) != write(found.high):
        text += f" ({write(found.low)}..{write(found.high)})"
    return text


def table(rows: Mapping[str, Mapping[str, str]], headings: Mapping[str, str]) -> str:
    """Return a table in Markdown; rows contain texts by name and column."""
    columns = [name for name in headings if any(name in row for row in rows.values())]
    lines = [["", *(headings[name] for name in columns)], ["---"] * (len(columns) + 1)]
    lines += [[name, *(row.get(each, "") for each in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def case_table(case: Mapping[str, Any]) -> str:
    """Return the table of a case: a row for each contender, a column for each measure."""
    values: Mapping[str, Mapping[str, Sequence[float]]] = case["values"]
    rows: dict[str, dict[str, str]] = {name: {} for name in values}
    reference = next((name for name in REFERENCES if name in values), "")
    for measure in MEASURES:
        column = {name: each[measure] for name, each in values.items() if measure in each}
        compared = ratios(column, reference)
        for name, found in column.items():
            rows[name][measure] = cell(measure, found)
            if name != reference and (times := compared.get(name)) is not None:
                rows[name][measure] += f", {multiple(times)} of {reference}"
    return table(rows, MEASURES)


def writes(case: Mapping[str, Any]) -> str:
    """Return a sentence about the paths that each contender wrote until its first answer."""
    found: Mapping[str, Sequence[str]] = case["written"]
    counts = ", ".join(f"{name} {len(lines) or 'nothing'}" for name, lines in found.items())
    return f"Paths written until the first answer, on a file system that lets it: {counts}."


def steps_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of slipway's own steps, with a row for each case."""
    rows = {}
    for case in cases:
        for each in case["values"].values():
            if "nothing_s" in each:
                rows[case["title"]] = {
                    step: cell(step, each[step]) for step in STEPS if step in each
                }
    return table(rows, STEPS) if rows else ""


def machine(found: Mapping[str, Any]) -> str:
    """Return a sentence about the machine on which the figures were measured."""
    each = found["machine"]
    return (
        f"Taken on {found['date'][:10]} with `{found['command']}`: {found['rounds']} rounds,"
        f" {each['cores']} cores ({each['processor']}), {each['memory_bytes'] / 2**30:.0f} GiB,"
        f" Linux {each['kernel']}, Docker {each['engine']} on {each['storage']}."
    )


def tables(found: Mapping[str, Any]) -> str:
    """Return all figures in Markdown."""
    parts = [machine(found)]
    for case in found["cases"]:
        parts += [f"### {case['title']}", f"{len(case['pins'])} locked distributions."]
        parts.append(case_table(case))
        if case["written"]:
            parts.append(writes(case))
    if steps := steps_table(found["cases"]):
        parts += ["### What slipway's own time is made of", steps]
    return "\n\n".join(parts)


def inserted(page: str, text: str) -> str:
    """Return a page with the text between its two marks, or at its end if it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        before, after = page, "\n"
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
