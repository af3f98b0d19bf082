"""What is inside the wheels and sdists."""

import email
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from devtool.layout import PACKAGES, ROOT, Distribution, distributions
from devtool.wheels import build

pytestmark = pytest.mark.timeout(600)
EVERY = list(distributions().values())
by_name = pytest.mark.parametrize("distribution", EVERY, ids=lambda distribution: distribution.name)


def stem(distribution: Distribution) -> str:
    return f"{distribution.name.replace('-', '_')}-{distribution.version}"


def wheel(distribution: Distribution, built: Path) -> Path:
    return built / f"{stem(distribution)}-py3-none-any.whl"


def sources(distribution: Distribution) -> set[str]:
    """The files of the package, as paths below `src`."""
    top = distribution.folder / "src"
    files = (path for path in top.glob("pyncette*/**/*") if path.is_file())
    return {str(path.relative_to(top)) for path in files if "__pycache__" not in path.parts}


def metadata(distribution: Distribution, built: Path) -> Message:
    with zipfile.ZipFile(wheel(distribution, built)) as archive:
        return email.message_from_string(archive.read(f"{stem(distribution)}.dist-info/METADATA").decode())


@by_name
def test_wheel_holds_the_package_and_nothing_else(distribution: Distribution, built: Path) -> None:
    info = {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}
    if distribution.metadata.keys() & {"entry-points", "scripts"}:
        info.add("entry_points.txt")
    with zipfile.ZipFile(wheel(distribution, built)) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    assert set(names) == sources(distribution) | {f"{stem(distribution)}.dist-info/{name}" for name in info}
    if distribution.name != "pyncette":
        assert any(name.endswith("/py.typed") for name in names)
    assert ("pyncette/__init__.py" in names) == (distribution.name == "pyncette-core")


@by_name
def test_sdist_holds_what_the_wheel_is_made_from(distribution: Distribution, built: Path) -> None:
    documents = {"README.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}  # hatchling adds the latter
    with tarfile.open(built / f"{stem(distribution)}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - documents == {f"src/{name}" for name in sources(distribution)}


@by_name
def test_metadata(distribution: Distribution, built: Path) -> None:
    fields = metadata(distribution, built)
    assert fields["Name"] == distribution.name
    assert fields["Version"] == distribution.version
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "MIT"
    assert fields.get_all("License-File") == ["LICENSE"]
    assert fields["Description-Content-Type"] == "text/markdown"
    assert len(fields["Summary"]) > 20
    labels = {url.partition(",")[0] for url in fields.get_all("Project-URL", [])}
    assert labels == {"Documentation", "Changelog", "Issue Tracker", "Homepage"}
    assert {"Framework :: AsyncIO", "Framework :: Trio"} <= set(fields.get_all("Classifier", []))
    assert set(fields.get_all("Provides-Extra", [])) == set(distribution.extras)
    assert fields.get_payload() == (distribution.folder / "README.md").read_text()


def test_twine_is_content(built: Path) -> None:
    files = [str(path) for path in sorted(built.iterdir())]
    assert len(files) == 2 * len(EVERY)
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_builds_are_identical(built: Path, tmp_path: Path) -> None:
    """Also in another folder, with different modification times and permissions of files, and at another time."""
    copies = tmp_path / "copies"
    shutil.copytree(PACKAGES, copies, ignore=shutil.ignore_patterns("__pycache__", "tests", "dist"))
    shutil.copy(ROOT / ".gitignore", copies)
    for path in copies.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
        if path.is_file():
            path.chmod(0o600)
    build(sys.executable, [copies / distribution.name for distribution in EVERY], tmp_path / "again")
    assert digests(tmp_path / "again") == digests(built)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
