"""Judges whether a measurement grows: fits a line to the second half of its values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Limit:
    """The growth over the second half that may be due to chance: the greater of the two.

    :ivar part: as a fraction of the mean.
    :ivar amount: as an absolute value.
    """

    part: float
    amount: float


LIMITS = {
    "memory": Limit(0.03, 3 * MEGABYTE),
    "descriptors": Limit(0, 4),
    "connections": Limit(0, 4),
    "records": Limit(0.05, 20),
    "bytes": Limit(0.1, 2 * MEGABYTE),
}
"""The limits by kind: a worker's memory, descriptors and connections; the store's records and bytes."""


@dataclass(frozen=True, slots=True)
class Series:
    """The measurements of one quantity.

    :ivar kind: one of :data:`LIMITS`.
    :ivar of: the worker or the store that was measured.
    :ivar points: pairs of time in seconds and value.
    """

    kind: str
    of: str
    points: Sequence[tuple[float, float]]

    @property
    def gain(self) -> float:
        """The rise over the second half of the line that fits it best."""
        half = self._half
        middle = sum(moment for moment, _ in half) / len(half)
        mean = self.mean
        spread = sum((moment - middle) ** 2 for moment, _ in half)
        slope = sum((moment - middle) * (value - mean) for moment, value in half) / spread if spread else 0.0
        return slope * (half[-1][0] - half[0][0])

    @property
    def mean(self) -> float:
        """The mean of the second half."""
        half = self._half
        return sum(value for _, value in half) / len(half)

    @property
    def limit(self) -> float:
        limit = LIMITS[self.kind]
        return max(limit.part * self.mean, limit.amount)

    @property
    def grows(self) -> bool:
        return self.gain > self.limit

    @property
    def _half(self) -> Sequence[tuple[float, float]]:
        return self.points[len(self.points) // 2 :]

    def __str__(self) -> str:
        word = "GROWS" if self.grows else "flat"
        return f"{self.of}: {self.kind} {word}, {self.mean:,.0f} and {self.gain:+,.0f}, at most {self.limit:+,.0f}"
