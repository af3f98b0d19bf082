"""The journal of each process: one line per event, written immediately, so that a kill loses none."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECOND = 1_000_000

BEGUN, ENDED, LOST, STALLED, STORED, READY, CALLED, ANSWERED = "BELGSROA"
"""The first letters of lines."""


def now() -> int:
    """Microseconds of the monotonic clock, which all processes of the machine share and nobody can set."""
    return time.monotonic_ns() // 1000


class Journal:
    """Appends lines of words: the letter, the monotonic time, the machine's time as this process sees it, and
    details."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, letter: str, *words: object) -> None:
        line = " ".join((letter, str(now()), str(time.time_ns() // 1000), *map(str, words)))
        os.write(self._file, line.encode() + b"\n")


@dataclass(slots=True)
class Execution:
    """One execution of one run.

    :ivar process: its process: the slot of the worker, a dot, and the number of earlier processes in that slot.
    :ivar what: the instance's run: the occurrence in microseconds, or # and the number of a trigger.
    :ivar fence: its fencing token, which is the time of its claim by the storage's clock.
    :ivar begun, ended: monotonic time.
    :ivar outcome: ``ok``, ``failed``, ``cancelled``, or empty if the process recorded no end.
    """

    process: str
    name: str
    what: str
    attempt: int
    fence: int
    begun: int
    ended: int | None = None
    outcome: str = ""

    @property
    def slot(self) -> str:
        return self.process.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem that a worker noticed: it was stalled, or the storage was slow or failed.

    :ivar began, ended: monotonic time.
    """

    process: str
    kind: str
    began: int
    ended: int


@dataclass(slots=True)
class Call:
    """A call of an operator.

    :ivar name: the instance; empty for the template.
    :ivar word: a detail: the number of a trigger.
    :ivar began, ended: monotonic time; None if no answer was recorded.
    :ivar outcome: ``ok``, ``refused``, or ``unknown`` if it may have taken effect.
    """

    operation: str
    name: str
    word: str
    began: int
    ended: int | None = None
    outcome: str = "unknown"


@dataclass(slots=True)
class History:
    """The content of all journals."""

    executions: list[Execution] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    leases_lost: int = 0


def read(folder: Path) -> History:
    """Read the journals in a folder."""
    history = History()
    for path in sorted(folder.glob("worker-*")):
        _read_worker(path, path.name.removeprefix("worker-"), history)
    for path in sorted(folder.glob("operator-*")):
        _read_operator(path, history)
    return history


def has_written(path: Path, letter: str) -> bool:
    """Whether the journal contains a line with this letter."""
    return path.exists() and any(words[0] == letter for words in _lines(path))


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield line.split()


def _read_worker(path: Path, process: str, history: History) -> None:
    open_ones: dict[tuple[str, str], Execution] = {}
    for letter, moment, _, *words in _lines(path):
        if letter == BEGUN:
            name, what, attempt, fence = words
            execution = Execution(process, sys.intern(name), what, int(attempt), int(fence), int(moment))
            history.executions.append(execution)
            open_ones[name, fence] = execution
        elif letter == ENDED:
            name, fence, outcome = words
            execution = open_ones.pop((name, fence))
            execution.ended, execution.outcome = int(moment), sys.intern(outcome)
        elif letter == LOST:
            history.leases_lost += 1
        elif letter in {STALLED, STORED}:
            took, *why = words
            kind = "stall" if letter == STALLED else f"storage {why[0]}"
            history.troubles.append(Trouble(process, kind, int(moment) - int(took), int(moment)))


def _read_operator(path: Path, history: History) -> None:
    open_ones: dict[str, Call] = {}
    for letter, moment, _, *words in _lines(path):
        if letter == CALLED:
            number, operation, name, word = words
            call = Call(operation, name.strip("-"), word.strip("-"), int(moment))
            history.calls.append(call)
            open_ones[number] = call
        elif letter == ANSWERED:
            number, outcome = words
            call = open_ones.pop(number)
            call.ended, call.outcome = int(moment), outcome
