"""Which names may become attributes of the context."""

from __future__ import annotations

RESERVED_NAMES = frozenset(
    {"app_context", "task", "scheduled_at", "args", "fencing_token", "attempt", "trigger", "run_id", "heartbeat"}
    | {"extend_timeout", "previous", "remaining", *dir(object)}
)


def check_attribute_name(name: object, what: str) -> str:
    """:raises ValueError: ``name`` can't become an attribute of the context."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"No name found for the {what}: give it one, name='…'.")
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is a reserved name of the context: choose another one for the {what}.")
    return name
