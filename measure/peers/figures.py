"""Numbers from repeated measurements: a median, its spread, and ratios between contenders."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The middle and the two ends of one measure's values, in the measure's own unit."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Summarize one measure of one contender; ValueError when there is no value."""
    if not values:
        raise ValueError("there is nothing to summarize")
    return Summary(statistics.median(values), min(values), max(values))


def ratio(value: float, reference: float) -> float | None:
    """How many times the reference a value is; None where the reference is zero."""
    return value / reference if reference else None


def ratios(values: Mapping[str, Sequence[float]], reference: str) -> dict[str, float | None]:
    """Each contender's median as a multiple of the reference contender's, which may be missing.

    values: contender -> one measure's values.
    """
    if not values.get(reference):
        return {}
    base = summary(values[reference]).median
    return {name: ratio(summary(each).median, base) for name, each in values.items() if each}


def rotated(items: Sequence[str], round_number: int) -> list[str]:
    """The same items, each round beginning with another one: none is always the first."""
    start = round_number % len(items)
    return [*items[start:], *items[:start]]


def bytes_of(blobs: Mapping[str, int], without: Iterable[str] = ()) -> int:
    """The sum of blobs (digest -> bytes), leaving out those that are there already."""
    there = set(without)
    return sum(size for digest, size in blobs.items() if digest not in there)
