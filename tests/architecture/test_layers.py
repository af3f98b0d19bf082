"""Imports run one way, core knows no backend, and few modules know asyncio."""

import sys

import pytest

from tests.architecture.sources import Import, imports, module_name, run_time_files

# Core, from the bottom to the top: a module imports only from layers below its own (for types alone, from anywhere).
LAYERS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "words and values",
        frozenset({"errors", "record", "names", "checks", "suggest", "cron", "zones", "clock", "signals"})
        | {"eventloop", "mongodb"},
    ),
    ("what users and observers are given", frozenset({"context", "observer"})),
    ("decisions", frozenset({"schedule", "lease"})),
    ("what is stored, and by whom", frozenset({"spec", "repository", "options"})),
    ("stores and tasks", frozenset({"memory", "bridge", "store", "task"})),
    ("the way to the store", frozenset({"writer", "backends", "partition"})),
    ("one lease", frozenset({"held"})),
    ("one registration", frozenset({"registration"})),
    ("the only caller of a repository", frozenset({"coordinator", "instances"})),
    ("helpers of executions", frozenset({"invoke", "background", "bulk", "taskgroup"})),
    ("executions", frozenset({"executor", "execution", "heartbeat"})),
    ("the loop", frozenset({"poller", "utils"})),
    ("a running app", frozenset({"app_context"})),
    ("the console entry", frozenset({"main"})),
    ("registration and wiring", frozenset({"app"})),
    ("on top", frozenset({"prometheus", "healthcheck", ""})),  # "" is pyncette/__init__.py
)

# What a backend may import of core: the storage interface, and what binds its options.
FOR_BACKENDS = frozenset({"repository", "record", "errors", "options", "bridge"})
BACKENDS = frozenset({"sqlite", "redis", "postgres", "mysql", "dynamodb"})

# Decisions, without I/O: all that these modules may import from outside.
PURE = frozenset({"record", "names", "suggest", "cron", "zones", "schedule", "lease", "spec"})
PURE_IMPORTS = frozenset(
    {"__future__", "bisect", "calendar", "collections", "croniter", "dataclasses", "datetime", "dateutil", "difflib"}
    | {"enum", "functools", "hashlib", "itertools", "json", "math", "re", "typing", "zoneinfo"}
)
PURE_EXCEPTIONS = {("schedule", "time")}  # the moment that `upcoming` starts from when none is given

# The rest is written for anyio. Backends may: their drivers speak asyncio only.
KNOWS_ASYNCIO = frozenset({"background", "bridge", "main", "taskgroup"})
ASYNCIO = frozenset({"asyncio", "uvloop"})

MODULES = {module_name(path): imports(path) for path in run_time_files()}


def top(module: str) -> str:
    """`lease` for `pyncette.lease`, the empty text for `pyncette` itself."""
    return module.partition(".")[2].partition(".")[0]


def root(name: str) -> str:
    return name.partition(".")[0]


def of_ours(name: str) -> str | None:
    """The part of Pyncette that an imported name belongs to; None for a name from outside."""
    if root(name) != "pyncette":
        return None
    part = top(name)
    return part if f"pyncette.{part}" in MODULES else ""


def layer(part: str) -> int:
    for number, (_, parts) in enumerate(LAYERS):
        if part in parts:
            return number
    pytest.fail(f"pyncette.{part} has no place in LAYERS; put it where its imports and its users allow")


def told(module: str, bad: list[Import], rule: str) -> str:
    return "\n".join(f"{module}:{found.line} imports {found.name}: {rule}" for found in bad)


CORE = sorted(m for m in MODULES if top(m) not in BACKENDS | {"testing"})


@pytest.mark.parametrize("module", CORE)
def test_core_imports_run_downwards(module: str) -> None:
    own = top(module)
    bad = []
    for found in MODULES[module]:
        part = of_ours(found.name)
        if part is None or part == own or found.only_for_types:
            continue
        if part == "testing" or part in BACKENDS or layer(part) >= layer(own):
            bad.append(found)
    assert not bad, told(module, bad, "not a layer below")


@pytest.mark.parametrize("module", sorted(m for m in MODULES if top(m) in BACKENDS))
def test_backends_import_the_storage_interface_only(module: str) -> None:
    allowed = FOR_BACKENDS | {top(module)}
    bad = [found for found in MODULES[module] if (part := of_ours(found.name)) is not None and part not in allowed]
    assert not bad, told(module, bad, f"a backend may import {sorted(FOR_BACKENDS)} of core")


@pytest.mark.parametrize("module", sorted(m for m in MODULES if top(m) in PURE))
def test_pure_modules_do_no_io(module: str) -> None:
    bad = [
        found
        for found in MODULES[module]
        if of_ours(found.name) is None
        and (outside := root(found.name)) not in PURE_IMPORTS
        and (top(module), outside) not in PURE_EXCEPTIONS
    ]
    assert not bad, told(module, bad, "this module decides and does no I/O")


@pytest.mark.parametrize("module", CORE)
def test_core_is_written_for_anyio(module: str) -> None:
    bad = [found for found in MODULES[module] if root(found.name) in ASYNCIO]
    assert top(module) in KNOWS_ASYNCIO or not bad, told(module, bad, "use anyio")


def test_core_imports_no_driver() -> None:
    drivers = {"aiosqlite", "redis", "asyncpg", "asyncmy", "aioboto3", "aiobotocore", "botocore", "boto3"}
    bad = {m: found.name for m in CORE for found in MODULES[m] if root(found.name) in drivers}
    assert not bad


def test_there_is_something_to_check() -> None:
    assert {top(module) for module in MODULES} >= {"lease", "schedule", "repository", *BACKENDS}
    assert "asyncio" in sys.stdlib_module_names
