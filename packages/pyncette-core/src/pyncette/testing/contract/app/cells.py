"""The decision table: what happens to occurrences, for each combination of policies and events. Written by hand.

An instance is due each 60 seconds. Its run of the occurrence at 60 begins in time; then it is one of:

- ``quick``: it takes no time, as all other executions do;
- ``long``: its first attempt takes 210 seconds;
- ``fails``: its first attempt fails at once. With ``retry`` the next one is 150 seconds later; without, it comes when
  the lease ends, at 120.

``pause``: from 85 to 205 the instance is paused; what comes due meanwhile is then ``skipped``, or counts as ``missed``.
``restart``: at 70 all workers are killed, and from 270 on there are others.

A row stands for each combination of what its first columns list: ``*`` for all, ``/`` between several. What is executed
is ``occurrence@time``, with ``#attempt`` after the first one and ``!`` if it is cut short. ``60 is`` says how the first
run ends; all others that are executed succeed. What is skipped is ``reason first-last xcount``. After all that, at 280,
the instance waits for 300.

``STORED`` has the record at 200: its occurrence, when it may be claimed (``lease``: a worker holds one, or died with
it) and its attempts.

A test takes all rows apart, and checks that they are all combinations but for the impossible ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

COLUMNS: dict[str, tuple[str, ...]] = {
    "mode": ("at least once", "at most once"),
    "run": ("quick", "long", "fails"),
    "retry": ("none", "2 attempts"),
    "pause": ("none", "skipped", "missed"),
    "restart": ("no", "yes"),
    "catch_up": ("all", "earliest", "latest"),
    "lateness": ("none", "100 s"),
    "overlap": ("queue", "skip", "cancel"),
}

TABLE = """
mode          | run         | retry      | pause       | restart | catch_up   | lateness | overlap    | executed                               | 60 is      | skipped
at least once | quick       | *          | none        | no      | *          | *        | *          | 60@60 120@120 180@180 240@240          | succeeded  |
at least once | quick       | *          | skipped     | no      | *          | *        | *          | 60@60 240@240                          | succeeded  | paused 120-180 x2
at least once | quick       | *          | missed      | no      | all        | *        | *          | 60@60 120@205 180@205 240@240          | succeeded  |
at least once | quick       | *          | missed      | no      | earliest   | *        | *          | 60@60 120@205 240@240                  | succeeded  | coalesced 180-180 x1
at least once | quick       | *          | missed      | no      | latest     | *        | *          | 60@60 180@205 240@240                  | succeeded  | coalesced 120-120 x1
at least once | quick       | *          | skipped     | yes     | *          | *        | *          | 60@60 240@270                          | succeeded  | paused 120-180 x2
at least once | quick       | *          | none/missed | yes     | all        | none     | *          | 60@60 120@270 180@270 240@270          | succeeded  |
at least once | quick       | *          | none/missed | yes     | all        | 100 s    | *          | 60@60 180@270 240@270                  | succeeded  | late 120-120 x1
at least once | quick       | *          | none/missed | yes     | earliest   | none     | *          | 60@60 120@270                          | succeeded  | coalesced 180-240 x2
at least once | quick       | *          | none/missed | yes     | earliest   | 100 s    | *          | 60@60 180@270                          | succeeded  | late 120-120 x1, coalesced 240-240 x1
at least once | quick       | *          | none/missed | yes     | latest     | none     | *          | 60@60 240@270                          | succeeded  | coalesced 120-180 x2
at least once | quick       | *          | none/missed | yes     | latest     | 100 s    | *          | 60@60 240@270                          | succeeded  | late 120-120 x1, coalesced 180-180 x1
at least once | long        | *          | none/missed | no      | all        | none     | queue      | 60@60 120@270 180@270 240@270          | succeeded  |
at least once | long        | *          | none/missed | no      | all        | 100 s    | queue      | 60@60 180@270 240@270                  | succeeded  | late 120-120 x1
at least once | long        | *          | none/missed | no      | earliest   | *        | queue      | 60@60                                  | succeeded  | coalesced 120-240 x3
at least once | long        | *          | none/missed | no      | latest     | none     | queue      | 60@60 240@270                          | succeeded  | coalesced 120-180 x2
at least once | long        | *          | none/missed | no      | latest     | 100 s    | queue      | 60@60 240@270                          | succeeded  | late 120-120 x1, coalesced 180-180 x1
at least once | long        | *          | none/missed | no      | *          | *        | skip       | 60@60                                  | succeeded  | overlap 120-240 x3
at least once | long        | *          | none        | no      | *          | *        | cancel     | 60@60! 120@120 180@180 240@240         | superseded |
at least once | long        | *          | missed      | no      | all        | *        | cancel     | 60@60! 120@210 180@210 240@240         | superseded |
at least once | long        | *          | missed      | no      | earliest   | *        | cancel     | 60@60! 120@210 240@240                 | superseded | coalesced 180-180 x1
at least once | long        | *          | missed      | no      | latest     | *        | cancel     | 60@60! 180@210 240@240                 | superseded | coalesced 120-120 x1
at least once | long        | *          | skipped     | no      | all/latest | *        | queue      | 60@60 240@270                          | succeeded  | paused 120-180 x2
at least once | long        | *          | skipped     | no      | earliest   | *        | queue      | 60@60                                  | succeeded  | paused 120-180 x2, coalesced 240-240 x1
at least once | long        | *          | skipped     | no      | *          | *        | skip       | 60@60                                  | succeeded  | paused 120-180 x2, overlap 240-240 x1
at least once | long        | *          | skipped     | no      | *          | *        | cancel     | 60@60! 240@240                         | superseded | paused 120-180 x2
at least once | long        | *          | none/missed | yes     | all        | none     | queue      | 60@60! 60@270#2 120@270 180@270 240@270 | succeeded |
at least once | long        | *          | none/missed | yes     | all        | 100 s    | queue      | 60@60! 60@270#2 180@270 240@270        | succeeded  | late 120-120 x1
at least once | long        | *          | none/missed | yes     | earliest   | *        | queue      | 60@60! 60@270#2                        | succeeded  | coalesced 120-240 x3
at least once | long        | *          | none/missed | yes     | latest     | none     | queue      | 60@60! 60@270#2 240@270                | succeeded  | coalesced 120-180 x2
at least once | long        | *          | none/missed | yes     | latest     | 100 s    | queue      | 60@60! 60@270#2 240@270                | succeeded  | late 120-120 x1, coalesced 180-180 x1
at least once | long        | *          | none/missed | yes     | *          | *        | skip       | 60@60! 60@270#2                        | succeeded  | overlap 120-240 x3
at least once | long        | *          | none/missed | yes     | all        | none     | cancel     | 60@60! 120@270 180@270 240@270         | superseded |
at least once | long        | *          | none/missed | yes     | all        | 100 s    | cancel     | 60@60! 180@270 240@270                 | superseded | late 120-120 x1
at least once | long        | *          | none/missed | yes     | earliest   | none     | cancel     | 60@60! 120@270                         | superseded | coalesced 180-240 x2
at least once | long        | *          | none/missed | yes     | earliest   | 100 s    | cancel     | 60@60! 180@270                         | superseded | late 120-120 x1, coalesced 240-240 x1
at least once | long        | *          | none/missed | yes     | latest     | none     | cancel     | 60@60! 240@270                         | superseded | coalesced 120-180 x2
at least once | long        | *          | none/missed | yes     | latest     | 100 s    | cancel     | 60@60! 240@270                         | superseded | late 120-120 x1, coalesced 180-180 x1
at least once | long        | *          | skipped     | yes     | all/latest | *        | queue      | 60@60! 60@270#2 240@270                | succeeded  | paused 120-180 x2
at least once | long        | *          | skipped     | yes     | earliest   | *        | queue      | 60@60! 60@270#2                        | succeeded  | paused 120-180 x2, coalesced 240-240 x1
at least once | long        | *          | skipped     | yes     | *          | *        | skip       | 60@60! 60@270#2                        | succeeded  | paused 120-180 x2, overlap 240-240 x1
at least once | long        | *          | skipped     | yes     | *          | *        | cancel     | 60@60! 240@270                         | superseded | paused 120-180 x2
at least once | fails       | 2 attempts | none        | no      | all        | *        | queue      | 60@60 60@210#2 120@210 180@210 240@240 | succeeded  |
at least once | fails       | 2 attempts | none        | no      | earliest   | *        | queue      | 60@60 60@210#2 240@240                 | succeeded  | coalesced 120-180 x2
at least once | fails       | 2 attempts | none        | no      | latest     | *        | queue      | 60@60 60@210#2 180@210 240@240         | succeeded  | coalesced 120-120 x1
at least once | fails       | 2 attempts | none        | no      | *          | *        | skip       | 60@60 60@210#2 240@240                 | succeeded  | overlap 120-180 x2
at least once | fails       | none       | none        | no      | *          | *        | queue      | 60@60 60@120#2 120@120 180@180 240@240 | succeeded  |
at least once | fails       | none       | none        | no      | *          | *        | skip       | 60@60 60@120#2 180@180 240@240         | succeeded  | overlap 120-120 x1
at least once | fails       | *          | none        | no      | *          | *        | cancel     | 60@60 120@120 180@180 240@240          | superseded |
at least once | fails       | *          | skipped     | no      | *          | *        | *          | 60@60 60@205#2 240@240                 | succeeded  | paused 120-180 x2
at least once | fails       | *          | missed      | no      | all        | *        | queue      | 60@60 60@205#2 120@205 180@205 240@240 | succeeded  |
at least once | fails       | *          | missed      | no      | earliest   | *        | queue      | 60@60 60@205#2 240@240                 | succeeded  | coalesced 120-180 x2
at least once | fails       | *          | missed      | no      | latest     | *        | queue      | 60@60 60@205#2 180@205 240@240         | succeeded  | coalesced 120-120 x1
at least once | fails       | *          | missed      | no      | *          | *        | skip       | 60@60 60@205#2 240@240                 | succeeded  | overlap 120-180 x2
at least once | fails       | *          | missed      | no      | all        | *        | cancel     | 60@60 120@205 180@205 240@240          | superseded |
at least once | fails       | *          | missed      | no      | earliest   | *        | cancel     | 60@60 120@205 240@240                  | superseded | coalesced 180-180 x1
at least once | fails       | *          | missed      | no      | latest     | *        | cancel     | 60@60 180@205 240@240                  | superseded | coalesced 120-120 x1
at least once | fails       | *          | none/missed | yes     | all        | none     | queue      | 60@60 60@270#2 120@270 180@270 240@270 | succeeded  |
at least once | fails       | *          | none/missed | yes     | all        | 100 s    | queue      | 60@60 60@270#2 180@270 240@270         | succeeded  | late 120-120 x1
at least once | fails       | *          | none/missed | yes     | earliest   | *        | queue      | 60@60 60@270#2                         | succeeded  | coalesced 120-240 x3
at least once | fails       | *          | none/missed | yes     | latest     | none     | queue      | 60@60 60@270#2 240@270                 | succeeded  | coalesced 120-180 x2
at least once | fails       | *          | none/missed | yes     | latest     | 100 s    | queue      | 60@60 60@270#2 240@270                 | succeeded  | late 120-120 x1, coalesced 180-180 x1
at least once | fails       | *          | none/missed | yes     | *          | *        | skip       | 60@60 60@270#2                         | succeeded  | overlap 120-240 x3
at least once | fails       | *          | none/missed | yes     | all        | none     | cancel     | 60@60 120@270 180@270 240@270          | superseded |
at least once | fails       | *          | none/missed | yes     | all        | 100 s    | cancel     | 60@60 180@270 240@270                  | superseded | late 120-120 x1
at least once | fails       | *          | none/missed | yes     | earliest   | none     | cancel     | 60@60 120@270                          | superseded | coalesced 180-240 x2
at least once | fails       | *          | none/missed | yes     | earliest   | 100 s    | cancel     | 60@60 180@270                          | superseded | late 120-120 x1, coalesced 240-240 x1
at least once | fails       | *          | none/missed | yes     | latest     | none     | cancel     | 60@60 240@270                          | superseded | coalesced 120-180 x2
at least once | fails       | *          | none/missed | yes     | latest     | 100 s    | cancel     | 60@60 240@270                          | superseded | late 120-120 x1, coalesced 180-180 x1
at least once | fails       | *          | skipped     | yes     | all/latest | *        | queue      | 60@60 60@270#2 240@270                 | succeeded  | paused 120-180 x2
at least once | fails       | *          | skipped     | yes     | earliest   | *        | queue      | 60@60 60@270#2                         | succeeded  | paused 120-180 x2, coalesced 240-240 x1
at least once | fails       | *          | skipped     | yes     | *          | *        | skip       | 60@60 60@270#2                         | succeeded  | paused 120-180 x2, overlap 240-240 x1
at least once | fails       | *          | skipped     | yes     | *          | *        | cancel     | 60@60 240@270                          | superseded | paused 120-180 x2
at most once  | quick/long  | none       | none        | no      | *          | *        | queue      | 60@60 120@120 180@180 240@240          | succeeded  |
at most once  | quick/long  | none       | skipped     | no      | *          | *        | queue      | 60@60 240@240                          | succeeded  | paused 120-180 x2
at most once  | quick/long  | none       | missed      | no      | all        | *        | queue      | 60@60 120@205 180@205 240@240          | succeeded  |
at most once  | quick/long  | none       | missed      | no      | earliest   | *        | queue      | 60@60 120@205 240@240                  | succeeded  | coalesced 180-180 x1
at most once  | quick/long  | none       | missed      | no      | latest     | *        | queue      | 60@60 180@205 240@240                  | succeeded  | coalesced 120-120 x1
at most once  | quick       | none       | skipped     | yes     | *          | *        | queue      | 60@60 240@270                          | succeeded  | paused 120-180 x2
at most once  | quick       | none       | none/missed | yes     | all        | none     | queue      | 60@60 120@270 180@270 240@270          | succeeded  |
at most once  | quick       | none       | none/missed | yes     | all        | 100 s    | queue      | 60@60 180@270 240@270                  | succeeded  | late 120-120 x1
at most once  | quick       | none       | none/missed | yes     | earliest   | none     | queue      | 60@60 120@270                          | succeeded  | coalesced 180-240 x2
at most once  | quick       | none       | none/missed | yes     | earliest   | 100 s    | queue      | 60@60 180@270                          | succeeded  | late 120-120 x1, coalesced 240-240 x1
at most once  | quick       | none       | none/missed | yes     | latest     | none     | queue      | 60@60 240@270                          | succeeded  | coalesced 120-180 x2
at most once  | quick       | none       | none/missed | yes     | latest     | 100 s    | queue      | 60@60 240@270                          | succeeded  | late 120-120 x1, coalesced 180-180 x1
at most once  | long        | none       | skipped     | yes     | *          | *        | queue      | 60@60! 240@270                         | unknown    | paused 120-180 x2
at most once  | long        | none       | none/missed | yes     | all        | none     | queue      | 60@60! 120@270 180@270 240@270         | unknown    |
at most once  | long        | none       | none/missed | yes     | all        | 100 s    | queue      | 60@60! 180@270 240@270                 | unknown    | late 120-120 x1
at most once  | long        | none       | none/missed | yes     | earliest   | none     | queue      | 60@60! 120@270                         | unknown    | coalesced 180-240 x2
at most once  | long        | none       | none/missed | yes     | earliest   | 100 s    | queue      | 60@60! 180@270                         | unknown    | late 120-120 x1, coalesced 240-240 x1
at most once  | long        | none       | none/missed | yes     | latest     | none     | queue      | 60@60! 240@270                         | unknown    | coalesced 120-180 x2
at most once  | long        | none       | none/missed | yes     | latest     | 100 s    | queue      | 60@60! 240@270                         | unknown    | late 120-120 x1, coalesced 180-180 x1
at most once  | fails       | none       | none        | no      | *          | *        | queue      | 60@60 120@120 180@180 240@240          | failed     |
at most once  | fails       | none       | skipped     | no      | *          | *        | queue      | 60@60 240@240                          | failed     | paused 120-180 x2
at most once  | fails       | none       | missed      | no      | all        | *        | queue      | 60@60 120@205 180@205 240@240          | failed     |
at most once  | fails       | none       | missed      | no      | earliest   | *        | queue      | 60@60 120@205 240@240                  | failed     | coalesced 180-180 x1
at most once  | fails       | none       | missed      | no      | latest     | *        | queue      | 60@60 180@205 240@240                  | failed     | coalesced 120-120 x1
at most once  | fails       | none       | skipped     | yes     | *          | *        | queue      | 60@60 240@270                          | failed     | paused 120-180 x2
at most once  | fails       | none       | none/missed | yes     | all        | none     | queue      | 60@60 120@270 180@270 240@270          | failed     |
at most once  | fails       | none       | none/missed | yes     | all        | 100 s    | queue      | 60@60 180@270 240@270                  | failed     | late 120-120 x1
at most once  | fails       | none       | none/missed | yes     | earliest   | none     | queue      | 60@60 120@270                          | failed     | coalesced 180-240 x2
at most once  | fails       | none       | none/missed | yes     | earliest   | 100 s    | queue      | 60@60 180@270                          | failed     | late 120-120 x1, coalesced 240-240 x1
at most once  | fails       | none       | none/missed | yes     | latest     | none     | queue      | 60@60 240@270                          | failed     | coalesced 120-180 x2
at most once  | fails       | none       | none/missed | yes     | latest     | 100 s    | queue      | 60@60 240@270                          | failed     | late 120-120 x1, coalesced 180-180 x1
"""  # noqa: E501 - a table

STORED = """
mode          | run   | retry      | pause          | restart | overlap    | at 200
at least once | quick | *          | none           | no      | *          | 240 240 0
at least once | quick | *          | none           | yes     | *          | 120 120 0
at least once | quick | *          | skipped/missed | *       | *          | 120 paused 0
at least once | long  | *          | none           | no      | queue/skip | 60 lease 1
at least once | long  | *          | none           | no      | cancel     | 240 240 0
at least once | long  | *          | none           | yes     | *          | 60 lease 1
at least once | long  | *          | skipped/missed | *       | *          | 60 lease 1
at least once | fails | 2 attempts | none           | no      | queue/skip | 60 210 1
at least once | fails | 2 attempts | none           | no      | cancel     | 240 240 0
at least once | fails | 2 attempts | none           | yes     | queue/skip | 60 210 1
at least once | fails | 2 attempts | none           | yes     | cancel     | 60 120 1
at least once | fails | 2 attempts | skipped/missed | *       | *          | 60 paused 1
at least once | fails | none       | none           | no      | *          | 240 240 0
at least once | fails | none       | *              | yes     | *          | 60 lease 1
at least once | fails | none       | skipped/missed | no      | *          | 60 paused 1
at most once  | *     | none       | none           | no      | queue      | 240 240 0
at most once  | *     | none       | none           | yes     | queue      | 120 120 0
at most once  | *     | none       | skipped/missed | *       | queue      | 120 paused 0
"""

IMPOSSIBLE = {
    ("at most once", "2 attempts", "*"): "there is one attempt, whatever becomes of it: refused where it is declared",
    ("at most once", "none", "skip"): "an occurrence is over before it is executed, so that none overlaps it: refused",
    ("at most once", "none", "cancel"): "for the same reason none supersedes it: refused",
}
"""By mode, retry and overlap."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, and what is expected of it."""

    mode: str
    run: str
    retry: str
    pause: str
    restart: str
    catch_up: str
    lateness: str
    overlap: str
    executed: str
    first: str
    skipped: str
    stored: str

    @property
    def combination(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in COLUMNS)

    @property
    def policies(self) -> tuple[str, ...]:
        return self.mode, self.retry, self.catch_up, self.lateness, self.overlap

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, self.combination, strict=True))


def lines(table: str) -> Iterator[tuple[list[str], list[str]]]:
    """The columns of each row, as written: those of the combination, and the others."""
    names, *rows = ([value.strip() for value in line.split("|")] for line in table.strip().splitlines())
    given = sum(name in COLUMNS for name in names)
    yield from ((row[:given], row[given:]) for row in rows)


def combinations(given: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The combinations that a row covers."""
    values = [COLUMNS[name] if value == "*" else value.split("/") for name, value in zip(names, given, strict=True)]
    return product(*values)


def rows() -> Iterator[list[Cell]]:
    """The cells of each row."""
    names = ["mode", "run", "retry", "pause", "restart", "overlap"]
    stored = {each: found for given, (found,) in lines(STORED) for each in combinations(given, names)}
    places = [list(COLUMNS).index(name) for name in names]
    for given, expected in lines(TABLE):
        yield [
            Cell(*[*combination, *expected, stored[tuple(combination[place] for place in places)]])
            for combination in combinations(given, list(COLUMNS))
        ]


def why_impossible(combination: Sequence[str]) -> str | None:
    mode, _, retry, *_, overlap = combination
    for pattern, reason in IMPOSSIBLE.items():
        if all(known in ("*", value) for known, value in zip(pattern, (mode, retry, overlap), strict=True)):
            return reason
    return None


CELLS = [cell for row in rows() for cell in row]

CHOSEN = {
    ("at least once", "none", "all", "none", "queue"),
    ("at least once", "none", "earliest", "100 s", "cancel"),
    ("at least once", "2 attempts", "latest", "100 s", "queue"),
    ("at least once", "2 attempts", "all", "none", "skip"),
    ("at most once", "none", "latest", "100 s", "queue"),
}
"""Policies, as in :attr:`Cell.policies`."""

SAMPLE = [cell for cell in CELLS if cell.policies in CHOSEN]
"""Each policy with each event; for storages that are slower than memory."""
