"""Tables for people, JSON lines for programs."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .values import clean

STYLES = {
    "dead": "bold red",
    "unreadable": "bold red",
    "paused": "yellow",
    "retrying": "yellow",
    "running": "green",
    "due": "cyan",
    "completed": "dim",
    "failed": "bold red",
    "unknown": "yellow",
    "succeeded": "green",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "skipped": "dim",
}

UNBROKEN = ("NEXT", "HERE", "ZONE", "WHEN", "STATE", "KIND", "LAST SEEN", "ENDED", "OCCURRENCE")
"""Columns that do not wrap: their texts are short."""

QUIET = 0.5
"""Seconds of work before there is a bar."""

MOST_NOTES = 20
"""How many of the same kind are said."""

UNLIMITED = 10_000
"""Columns of what is no terminal: nothing is cut there."""


def console(*, stderr: bool = False) -> Console:
    """Where people read; rich follows NO_COLOR, TERM and COLUMNS."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else UNLIMITED
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def print_json(fields: Mapping[str, Any]) -> None:
    """One object, in one line."""
    click.echo(json.dumps(fields, ensure_ascii=False))


def print_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """An object per line."""
    for row in rows:
        print_json(row)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """A table that fits the terminal: what is long wraps, moments and numbers do not."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, no_wrap=column in right or column in UNBROKEN, overflow="fold", justify=justify)
    for row in rows:
        table.add_row(*map(cell, row[: len(columns)]))
    _print(table)


def _print(table: Table) -> None:
    """Without the blanks at the ends of lines, with which rich fills a table."""
    to = console()
    with to.capture() as captured:
        to.print(table)
    click.echo(re.sub(r"(?m) +((?:\x1b\[0m)*) *$", r"\1", captured.get()).rstrip("\n"), color=True)


def cell(value: object) -> Text:
    """A value as people read it; a state has its colour."""
    text = "" if value is None else clean(str(value))
    return Text(text, style=STYLES.get(text, ""))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values below each other, those that are empty left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in (None, ""):
            table.add_row(name, cell(value))
    _print(table)


class Speed(ProgressColumn):
    """How many in a second; nothing until that is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left, on a terminal; gives a function that takes how many are done.

    If the work is interrupted or fails, it is said how far it has come.
    """
    done = 0

    def advance(number: int) -> None:
        nonlocal done
        done = number
        show(number)

    try:
        with _bar(what, total) as show:
            yield advance
    except BaseException:
        if done:
            note(f"{what}: stopped after {done:,}{'' if total is None else f' of {total:,}'}.")
        raise


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    shown = bar.add_task(what, total=total)
    began = time.monotonic()

    def show(done: int) -> None:
        bar.update(shown, completed=done)
        if time.monotonic() - began >= QUIET and done != total:
            bar.start()

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def note(text: str) -> None:
    """Something said besides the result: on stderr, so that it is in no pipe."""
    click.echo(text, err=True)


def note_some(texts: Sequence[str]) -> None:
    """The first of them, and how many more there are."""
    for text in texts[:MOST_NOTES]:
        note(text)
    if len(texts) > MOST_NOTES:
        note(f"... and {len(texts) - MOST_NOTES:,} more.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something can't be undone.

    :raises UsageError: there is nobody to ask.
    :raises Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is there to answer: give --yes.")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop's would let us wait on
    try:
        agreed = click.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    if not agreed:
        raise click.Abort("Nothing was done.")
