"""What goes wrong, in one or two lines, and with which exit status the program ends."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class Status(enum.IntEnum):
    """The exit statuses. They are documented, and stay as they are."""

    OK = 0
    FAILED = 1
    USAGE = 2
    STORAGE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


class Failure(click.ClickException):
    """Ends the program with a message and a status.

    :ivar status: the exit status.
    :ivar hint: a second line, which says what to do.
    """

    def __init__(self, message: str, status: Status = Status.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(self.hint, file=file, err=file is None)


def describe(error: Exception) -> Failure:
    """The message for an error that no command handles itself."""
    from pyncette.errors import PyncetteException, RepositoryException, TaskNotFoundException

    if isinstance(error, TaskNotFoundException):
        return Failure(one_line(error), Status.NOT_FOUND)
    if isinstance(error, RepositoryException):
        return Failure(one_line(error), Status.STORAGE)
    if isinstance(error, PyncetteException):
        return Failure(one_line(error))
    return Failure(f"{type(error).__name__}: {one_line(error)}", hint="--debug shows where it comes from.")


@contextmanager
def as_usage() -> Iterator[None]:
    """An error about arguments is the mistake of the user who gave them: it is shown without a traceback."""
    try:
        yield
    except (TypeError, ValueError) as e:
        raise Failure(one_line(e), Status.USAGE) from e


def one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
