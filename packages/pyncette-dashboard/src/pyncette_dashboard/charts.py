"""Computes the bars of charts as rectangles, which templates draw as SVG. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 100.0
"""The height of a chart in its own units; the browser scales it."""

LEAST = 1.5
"""The minimum height of a bar that is not empty."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar.

    :ivar kind: an outcome, or another word that has a colour.
    """

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A column.

    :ivar title: the tooltip.
    """

    x: float
    segments: Sequence[Segment]
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """
    :ivar width: in units of ``x``, of which each bar takes one.
    :ivar top: the largest value.
    :ivar ticks: labels below the chart, evenly spaced.
    :ivar summary: the content in words.
    """

    width: float
    bars: Sequence[Bar]
    top: float
    ticks: Sequence[str]
    summary: str


def stacked(
    columns: Sequence[Mapping[str, float]],
    titles: Sequence[str],
    kinds: Sequence[str],
    *,
    ticks: Sequence[str],
    summary: str,
) -> Chart:
    """A bar for each column, with its values stacked in the order of ``kinds``, the first one at the bottom."""
    top = max((sum(column.values()) for column in columns), default=0.0)
    bars = []
    for place, (column, title) in enumerate(zip(columns, titles, strict=True)):
        segments, floor = [], HEIGHT
        for kind in kinds:
            value = column.get(kind, 0)
            if value > 0:
                height = max(LEAST, value / top * HEIGHT)
                floor -= height
                segments.append(Segment(kind, round(max(floor, 0.0), 2), round(height, 2)))
        bars.append(Bar(place + 0.1, segments, title))
    return Chart(float(len(columns)), bars, top, ticks, summary)
