"""Imports run one way, core knows no backend, and few modules know asyncio."""

import ast
import sys
from pathlib import Path

import pytest

from pyncette._tasks.policies import POLICIES
from tests.architecture.house import BACKENDS, CORE, MODULES, room_of, rooms
from tests.architecture.sources import Import, module_name, run_time_files

ROOMS = [room.name for room in rooms()]

# The modules of core that a backend may import: the storage interface, errors, and the handling of options.
FOR_BACKENDS = frozenset({room.name for room in rooms() if room.audience == "backends"} | {"errors", "options"})

# Modules that decide and do no I/O, and everything that they may import from outside.
PURE = (
    *("record", "schedule", "_schedules", "lease", "migrations", "findings", "_lifecycle", "_loop.agenda"),
    *("_tasks.names", "_tasks.spec", "_tasks.state", "_validation.suggest"),
)
PURE_IMPORTS = frozenset(
    {"__future__", "bisect", "calendar", "collections", "croniter", "dataclasses", "datetime", "difflib", "enum"}
    | {"functools", "hashlib", "importlib", "io", "itertools", "json", "logging", "math", "re", "typing", "zoneinfo"}
)
PURE_EXCEPTIONS = {("schedule", "time")}  # the default moment from which `upcoming` starts

# The rest is written for anyio. Backends may: their drivers speak asyncio only.
KNOWS_ASYNCIO = frozenset(
    {"_concurrency.background", "bridge", "cancellation", "_app.console", "_concurrency.taskgroup"}
)
ASYNCIO = frozenset({"asyncio", "uvloop"})


def inside(module: str) -> str:
    """`_leases.held` for `pyncette._leases.held`."""
    return module.partition(".")[2]


def is_pure(module: str) -> bool:
    return any(inside(module) == name or inside(module).startswith(f"{name}.") for name in PURE)


def root(name: str) -> str:
    return name.partition(".")[0]


def told(module: str, bad: list[Import], rule: str) -> str:
    return "\n".join(f"{module}:{found.line} imports {found.name}: {rule}" for found in bad)


def test_every_room_is_in_the_table() -> None:
    assert set(ROOMS) == {room_of(module) for module in CORE}, "docs/architecture.md lists the rooms"


@pytest.mark.parametrize("module", CORE)
def test_core_imports_run_downwards(module: str) -> None:
    own = room_of(module)
    bad = []
    for found in MODULES[module]:
        used = room_of(found.name)
        if used is None or used == own:
            continue
        if used not in ROOMS or own not in ROOMS or ROOMS.index(used) <= ROOMS.index(own):
            bad.append(found)
    assert not bad, told(module, bad, "not a row below in docs/architecture.md")


@pytest.mark.parametrize("room", [name for name in ROOMS if name.startswith("_")])
def test_no_circles_inside_of_a_room(room: str) -> None:
    """There can be none between rooms, as imports between them run downwards."""
    own = {m for m in CORE if room_of(m) == room}
    uses = {m: {other for other in own for found in MODULES[m] if _is_of(found.name, other)} - {m} for m in own}
    while leaves := {m for m, used in uses.items() if not used}:
        uses = {m: used - leaves for m, used in uses.items() if m not in leaves}
    assert not uses, f"these import each other: {sorted(uses)}"


def _is_of(name: str, module: str) -> bool:
    return name == module or (name.startswith(f"{module}.") and module.count(".") > 1)


@pytest.mark.parametrize("module", sorted(m for m in MODULES if room_of(m) in BACKENDS))
def test_backends_import_the_storage_interface_only(module: str) -> None:
    allowed = FOR_BACKENDS | {room_of(module)}
    bad = [found for found in MODULES[module] if (used := room_of(found.name)) is not None and used not in allowed]
    assert not bad, told(module, bad, f"a backend may import {sorted(FOR_BACKENDS)} of core")


OPERATORS_TOOLS = ("pyncette_cli", "pyncette_dashboard")


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.split(".")[0] in OPERATORS_TOOLS))
def test_operators_tools_use_what_is_public(module: str) -> None:
    public = {"pyncette", *(room.name for room in rooms() if room.audience == "users"), "repository"}
    bad = [found for found in MODULES[module] if (used := room_of(found.name)) is not None and used not in public]
    assert not bad, told(module, bad, f"an operators' tool may import {sorted(public)} of core")


def test_the_command_line_knows_nothing_of_the_dashboard() -> None:
    others = {module: found for module, found in MODULES.items() if root(module) != "pyncette_dashboard"}
    assert not [module for module, found in others.items() if any(root(i.name) == "pyncette_dashboard" for i in found)]


@pytest.mark.parametrize("module", sorted(filter(is_pure, CORE)))
def test_pure_modules_do_no_io(module: str) -> None:
    bad = [
        found
        for found in MODULES[module]
        if room_of(found.name) is None
        and (outside := root(found.name)) not in PURE_IMPORTS
        and (inside(module), outside) not in PURE_EXCEPTIONS
    ]
    assert not bad, told(module, bad, "this module decides and does no I/O")


@pytest.mark.parametrize("module", CORE)
def test_core_is_written_for_anyio(module: str) -> None:
    bad = [found for found in MODULES[module] if root(found.name) in ASYNCIO]
    assert inside(module) in KNOWS_ASYNCIO or not bad, told(module, bad, "use anyio")


def test_core_imports_no_driver() -> None:
    drivers = {"aiosqlite", "redis", "asyncpg", "asyncmy", "aioboto3", "aiobotocore", "botocore", "boto3"}
    bad = {m: found.name for m in CORE for found in MODULES[m] if root(found.name) in drivers}
    assert not bad


def test_there_is_something_to_check() -> None:
    assert {room_of(module) for module in MODULES} >= {"lease", "schedule", "repository", *BACKENDS}
    assert "asyncio" in sys.stdlib_module_names


# Policies decide the fate of an occurrence. Code elsewhere that read them would decide it a second time.
# Each policy counts, new ones too, unless it chooses no state: how many executions there may be, and for how long. The
# context's ``heartbeat`` has the name of one.
CARRIED_OUT = frozenset({"concurrency", "lease_duration", "timeout", "heartbeat"})
DECIDES = ("_lifecycle.", "_tasks.", "_app.declaring")
CHOICES = (
    {name for name in POLICIES if name not in CARRIED_OUT}
    | {"ExecutionMode", "FailureMode", "CatchUp", "Overlap", "OnExhausted", "catching_up"}
    | {f"{name}_microseconds" for name in ("lateness", "jitter", "retain", "timeout")}
)


@pytest.mark.parametrize("path", [p for p in run_time_files() if module_name(p) in CORE], ids=module_name)
def test_policies_are_read_in_one_place(path: Path) -> None:
    if inside(module_name(path)).startswith(DECIDES):
        return
    read = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in CHOICES
    }
    assert not read, f"{module_name(path)} reads {read}: decide it in pyncette._lifecycle"
