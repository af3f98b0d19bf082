"""Detects misspelt words, so that a typo becomes an error instead of a silent default."""

from __future__ import annotations

from collections.abc import Sequence


def edit_distance(a: str, b: str) -> int:
    """The number of insertions, deletions, substitutions and swaps of neighbours that turn ``a`` into ``b``."""
    before: list[int] = []
    previous: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, previous, row = previous, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]


def near_miss(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that ``word`` is very probably a typo of; None if it may well mean something else.

    One edit counts as a typo; in words of eight or more letters, two do. Many words of four letters are one edit apart
    (``name``, ``game``, ``same``), so their first letter must be right.
    """
    for candidate in known:
        tolerance = 2 if len(candidate) >= 8 else 1
        if len(candidate) <= 4 and word[:1] != candidate[:1]:
            continue
        if (
            abs(len(word) - len(candidate)) <= tolerance
            and word != candidate
            and edit_distance(word.lower(), candidate) <= tolerance
        ):
            return candidate
    return None


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word nearest to ``word``; None if all are too different."""
    best = min(known, key=lambda candidate: edit_distance(word.lower(), candidate), default=None)
    if best is None or edit_distance(word.lower(), best) > max(2, len(best) // 3):
        return None
    return best
