"""The rooms of core, read from docs/architecture.md, their only description, and the drawing of their imports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.architecture.sources import ROOT, Import, imports, module_name, run_time_files

PAGE = ROOT / "docs" / "architecture.md"
BACKENDS = frozenset({"sqlite", "redis", "postgres", "mysql", "dynamodb"})
DRAWING = re.compile(r"(?s)```mermaid\n.*?```")


class Modules(Mapping[str, list[Import]]):
    """The imports of each module, read when they are asked for: each process of pytest-xdist collects all tests."""

    def __init__(self) -> None:
        self._paths = {module_name(path): path for path in run_time_files()}

    def __getitem__(self, name: str) -> list[Import]:
        return imports(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


MODULES = Modules()
CORE = sorted(
    m
    for m in MODULES
    if m.split(".")[0] == "pyncette"
    and m.split(".")[1:2] not in [[b] for b in (*BACKENDS, "testing", "mongodb", "model", "task", "pyncette")]
)


@dataclass(frozen=True, slots=True)
class Room:
    """A row of the table.

    :ivar audience: users, backends, or core alone.
    """

    name: str
    audience: str


def rooms() -> list[Room]:
    """From top to bottom."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\w+) \|$", PAGE.read_text(), re.MULTILINE)
    return [Room(name, audience) for name, audience in rows]


def room_of(name: str) -> str | None:
    """The room of a module, or of a name imported from it; None if it is not ours."""
    parts = name.split(".")
    if parts[0] != "pyncette":
        return None
    return parts[1] if len(parts) > 1 and f"pyncette.{parts[1]}" in MODULES else "pyncette"


def arrows() -> set[tuple[str, str]]:
    """Which room imports which, including imports only for types."""
    found = {(room_of(module), room_of(each.name)) for module in CORE for each in MODULES[module]}
    return {(user, used) for user, used in found if user and used and used not in (user, "pyncette")}


def reachable(edges: Iterable[tuple[str, str]], start: str) -> set[str]:
    edges = set(edges)
    found: set[str] = set()
    pending = {start}
    while pending:
        node = pending.pop()
        following = {used for user, used in edges if user == node} - found
        found |= following
        pending |= following
    return found


def drawing() -> str:
    """The arrows as text for mermaid, without those that follow from others."""
    every = arrows()
    kept = {(user, used) for user, used in every if used not in reachable(every - {(user, used)}, user)}
    place = {room.name: number for number, room in enumerate(rooms())}
    lines = [
        f"    {user} --> {used}" for user, used in sorted(kept, key=lambda arrow: (place[arrow[0]], place[arrow[1]]))
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])
