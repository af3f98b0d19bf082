"""Unknown keywords of the classes that users construct: the error says what to write instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .suggest import nearest

T = TypeVar("T")


def corrects_keywords(words: Mapping[str, str] | None = None) -> Callable[[type[T]], type[T]]:
    """Makes ``__init__`` refuse an unknown keyword with the parameter that is meant.

    Type checkers, :func:`inspect.signature` and :mod:`dataclasses` see the class as it was.

    :param words: what other libraries call a parameter, and what to write instead.
    """
    instead = words or {}

    def decorate(cls: type[T]) -> type[T]:
        initialise: Callable[..., None] = vars(cls)["__init__"]
        known = tuple(inspect.signature(initialise).parameters)[1:]

        @functools.wraps(initialise)
        def checked(self: T, *args: Any, **kwargs: Any) -> None:
            for name in kwargs:
                if name not in known:
                    raise TypeError(_unknown(cls.__name__, name, known, instead))
            initialise(self, *args, **kwargs)

        setattr(cls, "__init__", checked)  # noqa: B010 -- mypy refuses the assignment
        return cls

    return decorate


def _unknown(owner: str, name: str, known: tuple[str, ...], words: Mapping[str, str]) -> str:
    problem = f"{owner} has no parameter {name!r}"
    if name in words:
        return f"{problem}: write {words[name]}."
    meant = nearest(name, known)
    return f"{problem}{f'; did you mean {meant!r}?' if meant else '.'} Its parameters are: {', '.join(known)}."
