"""The built wheels in clean environments: alone, together, beside editable installs, installed and removed in any
order.

Tests of the resolution alone use uv; those that install and uninstall, and the plain `pyncette`, use pip.
"""

import json
import subprocess
from pathlib import Path

import pytest
from devtool import uv
from devtool.layout import PACKAGES, closure, name_of

from tests.packaging.environments import CleanEnvironment

pytestmark = pytest.mark.timeout(600)

DRIVERS = {
    "sqlite": "aiosqlite",
    "redis": "redis",
    "postgres": "asyncpg",
    "mysql": "asyncmy",
    "dynamodb": "aioboto3",
}
OPTIONAL = {*DRIVERS.values(), "prometheus-client", "opentelemetry-api", "trio", "uvloop", "hypothesis", "pytest"} | {
    "pydantic"
}
PUBLIC = "from pyncette import Pyncette, Context; Pyncette()\n"


def installed(environment: CleanEnvironment) -> set[str]:
    listed = uv.run("pip", "list", "--format=json", "--python", environment.interpreter)
    return {name_of(entry["name"]) for entry in json.loads(listed)}


def works(environment: CleanEnvironment, code: str) -> None:
    done = environment.run(code)
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


def is_broken(environment: CleanEnvironment, code: str) -> bool:
    done = environment.run(code)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode == 1


def uses(*backends: str) -> str:
    """Code that imports the public names and the backends."""
    return PUBLIC + "".join(f"from pyncette.{name} import {name}_repository\n" for name in backends)


# Imports all of core, except modules that need an extra, and those that only say that they were removed.
WALK = """
import importlib, pkgutil, sys
import pyncette
extras = {"pyncette.otel", "pyncette.prometheus", "pyncette.testing"}
skipped = extras | {"pyncette.mongodb", "pyncette.pyncette", "pyncette.task"}
for module in pkgutil.iter_modules(pyncette.__path__, "pyncette."):
    if module.name not in skipped:
        importlib.import_module(module.name)
optional = {"aiosqlite", "redis", "asyncpg", "asyncmy", "aioboto3", "pydantic", "trio", "uvloop", "pytest"}
loaded = set(sys.modules) & optional
assert not loaded, loaded
"""


def test_core_alone(clean: CleanEnvironment) -> None:
    clean.install("pyncette-core", by_uv=True)
    assert not installed(clean) & OPTIONAL
    works(clean, PUBLIC)
    works(clean, WALK)


@pytest.mark.parametrize("extra", ["otel", "prometheus", "testing", "trio", "typed", "uvloop"])
def test_extras_of_core(clean: CleanEnvironment, extra: str) -> None:
    clean.install(f"pyncette-core[{extra}]", by_uv=True)
    expected = {name_of(requirement) for requirement in closure([f"pyncette-core[{extra}]"])[1]}
    assert installed(clean) & OPTIONAL == expected & OPTIONAL
    ours = {"otel": "otel", "prometheus": "prometheus", "testing": "testing.contract", "typed": "_tasks.converting"}
    module = f"pyncette.{ours[extra]}" if extra in ours else extra
    works(clean, f"{PUBLIC}import {module}")


@pytest.mark.parametrize("backend", DRIVERS)
def test_each_backend_pulls_its_own_driver_only(clean: CleanEnvironment, backend: str) -> None:
    clean.install(f"pyncette-{backend}", by_uv=True)
    assert installed(clean) & OPTIONAL == {DRIVERS[backend]}
    assert {name for name in installed(clean) if name.startswith("pyncette")} == {
        "pyncette-core",
        f"pyncette-{backend}",
    }
    works(clean, uses(backend))
    works(clean, entry_points(backend))


def entry_points(*backends: str) -> str:
    """Code that loads the entry points, and checks that they are exactly those of these backends."""
    return f"""
from importlib.metadata import entry_points
found = entry_points(group="pyncette.backends")
assert {{entry.module for entry in found}} == {{f"pyncette.{{name}}" for name in {backends!r}}}, found
for entry in found:
    entry.load()
"""


def test_the_command_line_comes_with_its_extra(clean: CleanEnvironment) -> None:
    clean.install("pyncette[cli]", by_uv=True)
    assert installed(clean) & OPTIONAL == {"aiosqlite"}
    program = Path(clean.interpreter).with_name("pyncette")
    done = subprocess.run([program, "next", "30 2 * * *"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("At 02:30\n")


def test_plain_pyncette_is_core_and_sqlite(clean: CleanEnvironment) -> None:
    clean.install("pyncette")
    assert installed(clean) & OPTIONAL == {"aiosqlite"}
    works(clean, uses("sqlite") + entry_points("sqlite"))


@pytest.mark.parametrize("order", [list(DRIVERS), list(reversed(DRIVERS))], ids=["forwards", "backwards"])
def test_all_pulls_everything_and_backends_leave_in_any_order(clean: CleanEnvironment, order: list[str]) -> None:
    clean.install("pyncette[all]", by_uv=True)
    assert installed(clean) & OPTIONAL == OPTIONAL - {"hypothesis", "pytest"}
    works(clean, uses(*DRIVERS) + entry_points(*DRIVERS))
    left = list(order)
    for backend in order:
        clean.pip("uninstall", "--yes", f"pyncette-{backend}")
        left.remove(backend)
        works(clean, uses(*left))
        assert is_broken(clean, uses(backend))
    clean.install("--no-deps", *(f"pyncette-{backend}" for backend in order))
    works(clean, uses(*DRIVERS))


def test_order_of_installation_does_not_matter(clean: CleanEnvironment) -> None:
    core, redis, sqlite = three = ["pyncette-core", "pyncette-redis", "pyncette-sqlite"]
    clean.install(*three, by_uv=True)
    for order in ([sqlite, core, redis], [redis, sqlite, core]):
        clean.pip("uninstall", "--yes", *three)
        assert is_broken(clean, PUBLIC)
        for name in order:
            clean.install("--no-deps", name)
        works(clean, uses("redis", "sqlite"))


@pytest.mark.parametrize("editable", [["core"], ["redis"], ["redis", "sqlite"], ["core", "redis", "sqlite"]])
def test_editable_installs_beside_wheels(clean: CleanEnvironment, editable: list[str]) -> None:
    clean.install("pyncette-core", "pyncette-redis", "pyncette-sqlite", "hatchling", by_uv=True)
    folders = [argument for name in editable for argument in ("-e", str(PACKAGES / f"pyncette-{name}"))]
    clean.pip("install", "--no-deps", "--no-build-isolation", *folders)
    works(clean, uses("redis", "sqlite"))
    part = "" if editable[0] == "core" else f".{editable[0]}"
    works(clean, f"import pyncette{part} as it; assert it.__file__.startswith({str(PACKAGES)!r}), it.__file__")
