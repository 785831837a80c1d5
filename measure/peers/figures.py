"""The arithmetic of repeated measurements: medians, their spread, and ratios of contenders."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The median, the smallest and the largest of a measure's values."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Return the summary of some values; raise ValueError if there are none."""
    if not values:
        raise ValueError("there is nothing to summarize: no value was measured")
    return Summary(statistics.median(values), min(values), max(values))


def ratio(value: float, reference: float) -> float | None:
    """Return a value as a multiple of a reference; None if the reference is zero."""
    return value / reference if reference else None


def ratios(values: Mapping[str, Sequence[float]], reference: str) -> dict[str, float | None]:
    """Return each contender's median as a multiple of the reference contender's.

    values are those of one measure, by contender. Without the reference there are no ratios.
    """
    if not values.get(reference):
        return {}
    base = summary(values[reference]).median
    return {name: ratio(summary(each).median, base) for name, each in values.items() if each}


def rotated(items: Sequence[str], round_number: int) -> list[str]:
    """Return the items in another order for each round, so that none is always the first."""
    start = round_number % len(items)
    return [*items[start:], *items[:start]]


def bytes_of(blobs: Mapping[str, int], without: Iterable[str] = ()) -> int:
    """Return the sum of the sizes of blobs, by digest, without those that exist already."""
    there = set(without)
    return sum(size for digest, size in blobs.items() if digest not in there)
