"""The metadata of the distributions agree with their contents and with each other."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from devtool.lock import asked, requirements_text
from packaging.requirements import Requirement

from tests.architecture.house import BACKENDS, PAGE
from tests.architecture.sources import PACKAGES, ROOT, tracked

FOLDERS = sorted(path.parent for path in PACKAGES.glob("*/pyproject.toml"))
PROJECTS: dict[str, dict[str, Any]] = {
    folder.name: tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in FOLDERS
}
WITH_CODE = [folder for folder in FOLDERS if folder.name != "pyncette"]
PACKAGE = {"core": "pyncette", "cli": "pyncette_cli", "dashboard": "pyncette_dashboard"}
"""Packages that are not part of core's. The separate one of the command line is faster to import."""
SAME_IN_ALL = ("requires-python", "license", "license-files", "authors", "urls")


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(text) for texts in [project["dependencies"], *extras] for text in texts]


def test_names() -> None:
    assert set(PROJECTS) == {"pyncette"} | {
        f"pyncette-{part}" for part in ("core", "cli", "dashboard", "sqlite", "redis", "postgres", "mysql", "dynamodb")
    }
    assert all(project["name"] == folder for folder, project in PROJECTS.items())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_has_its_readme_and_licence(folder: Path) -> None:
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    first = PROJECTS["pyncette-core"]
    assert {key: PROJECTS[folder.name][key] for key in SAME_IN_ALL} == {key: first[key] for key in SAME_IN_ALL}


@pytest.mark.parametrize("folder", WITH_CODE, ids=lambda folder: folder.name)
def test_typed_and_in_its_own_folder(folder: Path) -> None:
    part = folder.name.removeprefix("pyncette-")
    package = folder / "src" / PACKAGE.get(part, f"pyncette/{part}")
    assert (package / "py.typed").exists()
    assert (package / "__init__.py").exists()
    if part != "core":
        files = {path.parent for path in tracked() if path.is_relative_to(folder / "src") and path.name != "BUILD"}
        assert all(parent.is_relative_to(package) for parent in files), "only core ships pyncette/__init__.py"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_editable_install_adds_folders_that_exist(folder: Path) -> None:
    """From Python 3.15 on, every process would start with a warning about a folder that does not exist."""
    build = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert all((folder / added).is_dir() for added in build.get("dev-mode-dirs", []))


def floor_plan(heading: str) -> set[str]:
    """The modules that a table of the page names."""
    (table,) = re.findall(rf"(?m)^\| {heading} \| job \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE.read_text())
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_backends_have_one_floor_plan(backend: str) -> None:
    folder = PACKAGES / f"pyncette-{backend}" / "src" / "pyncette" / backend
    modules = {path.stem for path in tracked() if path.parent == folder and path.suffix == ".py"}
    if backend == "redis":
        modules = {"statements" if name == "scripts" else name for name in modules}
    everywhere = floor_plan("in every backend")
    assert everywhere <= modules
    assert modules - everywhere <= floor_plan("only in some"), "docs/architecture.md names the modules of backends"


def test_the_floor_plan_names_no_more_than_there_is() -> None:
    modules = {path.stem for path in tracked() if path.parent.name in BACKENDS}
    assert floor_plan("only in some") <= modules


def test_ranges_admit_what_is_here() -> None:
    for project in PROJECTS.values():
        for wanted in requirements(project):
            if wanted.name in PROJECTS:
                assert wanted.specifier.contains(PROJECTS[wanted.name]["version"]), (project["name"], str(wanted))
                assert any(part.operator == "<" for part in wanted.specifier) or wanted.extras


def test_all_is_all() -> None:
    extras = PROJECTS["pyncette"]["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    assert everything.name == "pyncette"
    assert everything.extras == set(extras) - {"all"}


@pytest.mark.parametrize("lock", asked(), ids=lambda lock: lock.parent.name)
def test_lock_is_made_from_the_requirements(lock: Path) -> None:
    text = lock.with_name("requirements.txt").read_text()
    assert text == requirements_text(asked()[lock]), "run ./dev lock"
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock.read_text()):
        pins.setdefault(name, []).append(version)
    for line in text.splitlines()[1:]:
        wanted = Requirement(line)
        for version in pins[wanted.name.lower()]:
            assert wanted.specifier.contains(version), f"{line}, but {version} is locked; run ./dev lock"


def test_names_of_test_modules_are_unique() -> None:
    """mypy, and so Pants, knows the modules in a package's tests by their last names."""
    inner = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(PACKAGES)]
    names = Counter(path.name for path in inner if path.relative_to(PACKAGES).parts[1] == "tests")
    assert {name for name, count in names.items() if count > 1} <= {"conftest.py", "__init__.py"}
