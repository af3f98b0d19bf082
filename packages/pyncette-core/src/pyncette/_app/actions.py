"""What operators did, as users see it."""

from __future__ import annotations

from dataclasses import dataclass

from pyncette._tasks.action import ACTIONS, Action

LONGEST = 1000
"""The maximum number of characters of each of an action's texts."""


@dataclass(frozen=True, slots=True)
class ActionsPage:
    """A page of actions, newest first.

    :ivar continuation_token: pass it to get the next page; None when there are no more.
    """

    actions: list[Action]
    continuation_token: str | None


def check_note(**fields: object) -> dict[str, str | None]:
    """The fields of an action, truncated as they are stored.

    :raises TypeError: a field is not a string.
    """
    checked: dict[str, str | None] = {}
    for name, value in fields.items():
        if value is None and name in ("task", "instance"):
            checked[name] = None
        elif isinstance(value, str):
            checked[name] = value[:LONGEST]
        else:
            raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    return checked


def place_of_action(token: str | None) -> str | None:
    """The key at which the previous page ended, from its continuation token.

    :raises ValueError: it is not a continuation token.
    """
    if token is None or token.startswith(f"{ACTIONS.name}:"):
        return token
    raise ValueError("This is not a continuation token of actions(): pass the one of the previous page.")
