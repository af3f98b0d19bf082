"""The decision table: what becomes of occurrences, for each combination of policies. Written by hand.

A task is due each 60 seconds. Its first occurrence, at 60, begins in time. What happens then is one of:

- ``down``: it is executed, and from 70 to 270 there is no worker;
- ``long``: its execution takes 210 seconds;
- ``fails``: its first attempt fails at once, and the next one comes 210 seconds later.

All other executions take no time. A row stands for each combination of what its first columns list, ``*`` for all.
What is executed is ``occurrence@time``, with ``#attempt`` after the first one and ``!`` if it is cancelled; what is
skipped is ``reason first-last xcount``. ``at 200`` is the state of the record then: occurrence, when it may be claimed,
attempts. After all that, at 280, the task waits for 300.

A test takes all rows apart, and checks that they are all combinations but for the impossible ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

MODES = ("at least once", "at most once")
EVENTS = ("down", "long", "fails")
CATCH_UP = ("all", "earliest", "latest")
LATENESS = ("none", "100 s")
OVERLAP = ("queue", "skip", "cancel")

TABLE = """
mode          | event | catch_up | max_lateness | overlap | executed                               | skipped                              | at 200
*             | down  | all      | none         | *       | 60@60 120@270 180@270 240@270          |                                      | 120 120 0
*             | down  | all      | 100 s        | *       | 60@60 180@270 240@270                  | late 120-120 x1                      | 120 120 0
*             | down  | earliest | none         | *       | 60@60 120@270                          | coalesced 180-240 x2                 | 120 120 0
*             | down  | earliest | 100 s        | *       | 60@60 180@270                          | late 120-120 x1, coalesced 240-240 x1 | 120 120 0
*             | down  | latest   | none         | *       | 60@60 240@270                          | coalesced 120-180 x2                 | 120 120 0
*             | down  | latest   | 100 s        | *       | 60@60 240@270                          | late 120-120 x1, coalesced 180-180 x1 | 120 120 0
at least once | long  | all      | none         | queue   | 60@60 120@270 180@270 240@270          |                                      | 60 lease 1
at least once | long  | all      | 100 s        | queue   | 60@60 180@270 240@270                  | late 120-120 x1                      | 60 lease 1
at least once | long  | earliest | *            | queue   | 60@60                                  | coalesced 120-240 x3                 | 60 lease 1
at least once | long  | latest   | none         | queue   | 60@60 240@270                          | coalesced 120-180 x2                 | 60 lease 1
at least once | long  | latest   | 100 s        | queue   | 60@60 240@270                          | late 120-120 x1, coalesced 180-180 x1 | 60 lease 1
at least once | long  | *        | *            | skip    | 60@60                                  | overlap 120-240 x3                   | 60 lease 1
at least once | long  | *        | *            | cancel  | 60@60! 120@120 180@180 240@240         |                                      | 240 240 0
at most once  | long  | *        | *            | queue   | 60@60 120@120 180@180 240@240          |                                      | 240 240 0
at least once | fails | all      | none         | queue   | 60@60 60@270#2 120@270 180@270 240@270 |                                      | 60 270 1
at least once | fails | all      | 100 s        | queue   | 60@60 60@270#2 180@270 240@270         | late 120-120 x1                      | 60 270 1
at least once | fails | earliest | *            | queue   | 60@60 60@270#2                         | coalesced 120-240 x3                 | 60 270 1
at least once | fails | latest   | none         | queue   | 60@60 60@270#2 240@270                 | coalesced 120-180 x2                 | 60 270 1
at least once | fails | latest   | 100 s        | queue   | 60@60 60@270#2 240@270                 | late 120-120 x1, coalesced 180-180 x1 | 60 270 1
at least once | fails | *        | *            | skip    | 60@60 60@270#2                         | overlap 120-240 x3                   | 60 270 1
at least once | fails | *        | *            | cancel  | 60@60 120@120 180@180 240@240          |                                      | 240 240 0
"""  # noqa: E501 - a table

IMPOSSIBLE = {
    ("at most once", "*", "skip"): "an occurrence is over before it is executed, so that none overlaps it",
    ("at most once", "*", "cancel"): "an occurrence is over before it is executed, so that none supersedes it",
    ("at most once", "fails", "*"): "there are no further attempts",
}
"""By mode, event and overlap."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, and what is expected of it."""

    mode: str
    event: str
    catch_up: str
    max_lateness: str
    overlap: str
    executed: str
    skipped: str
    at_200: str

    @property
    def combination(self) -> tuple[str, ...]:
        return self.mode, self.event, self.catch_up, self.max_lateness, self.overlap

    def __str__(self) -> str:
        return ", ".join(self.combination)


def rows() -> Iterator[list[Cell]]:
    """The cells of each row."""
    for line in TABLE.strip().splitlines()[1:]:
        *given, executed, skipped, at_200 = (value.strip() for value in line.split("|"))
        values = [
            known if value == "*" else (value,)
            for known, value in zip((MODES, EVENTS, CATCH_UP, LATENESS, OVERLAP), given, strict=True)
        ]
        yield [
            Cell(*[*combination, executed, skipped, at_200])
            for combination in product(*values)
            if not is_impossible(*combination)
        ]


def is_impossible(mode: str, event: str, catch_up: str, max_lateness: str, overlap: str) -> bool:
    def fits(pattern: tuple[str, str, str]) -> bool:
        return all(known in ("*", value) for known, value in zip(pattern, (mode, event, overlap), strict=True))

    return any(fits(pattern) for pattern in IMPOSSIBLE)


CELLS = [cell for row in rows() for cell in row]
SAMPLE = [row[-1] for row in rows()]
"""One of each row, for storages that are slower than memory."""
