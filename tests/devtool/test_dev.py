"""`./dev` on a fresh checkout, and its messages if it can't work."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from devtool import uv
from devtool.layout import ROOT, closure, script_requirements
from devtool.lock import requirements_text
from devtool.problem import Problem
from devtool.pythons import at_hand
from devtool.tests import places, processes

pytestmark = pytest.mark.timeout(600)
Dev = Callable[..., subprocess.CompletedProcess[str]]
OLD = [f"3.{minor}" for minor in range(6, 11)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of this repository, as a clone has them."""
    target = tmp_path_factory.mktemp("checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def dev(checkout: Path, tmp_path: Path) -> Dev:
    """Runs `./dev` in the checkout, with an empty home folder."""

    def run(*arguments: str, python: str = sys.executable, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"DEV_VENV", "XDG_CACHE_HOME"}}
        return subprocess.run(
            [python, str(checkout / "dev"), *arguments],
            env={**kept, "HOME": str(tmp_path), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The message with which it failed, without a traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_script_runs_with_what_it_declares(dev: Dev, checkout: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "# /// script\n# dependencies = [\n#     'pyncette[redis]',\n# ]\n# ///\n"
        "import json, sys\nimport pyncette.redis, pyncette.sqlite\n"
        "print(json.dumps([sys.prefix, pyncette.__file__, sys.argv[1:]]))\n"
    )
    first = dev("run", str(script), "--help", "-x")
    assert first.returncode == 0, first.stderr
    prefix, package, arguments = json.loads(first.stdout)
    assert Path(prefix) == checkout / ".venv"
    assert Path(package).is_relative_to(checkout / "packages" / "pyncette-core")
    assert arguments == ["--help", "-x"]
    again = dev("run", str(script))
    assert again.stderr == "", "nothing is set up twice"
    pyproject = checkout / "packages" / "pyncette-redis" / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n")
    assert "Setting up" in dev("run", str(script)).stderr, "but what changed is installed again"


def test_help_and_mistakes(dev: Dev) -> None:
    helped = dev("--help")
    assert helped.returncode == 0
    assert all(f"    {name} " in helped.stdout for name in ("run", "test", "check", "docs", "bench", "release"))
    assert "no file nowhere.py" in told(dev("run", "nowhere.py"))
    assert "invalid choice: 'tets'" in told(dev("tets"))
    assert "unrecognized arguments: --fxi" in told(dev("check", "--fxi"))
    assert "There is no Python 3.4 here; at hand: 3." in told(dev("test", "--python", "3.4"))


def test_entry_file_parses_on_old_pythons() -> None:
    ast.parse((ROOT / "dev").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("version", OLD)
def test_old_python_is_told(dev: Dev, tmp_path: Path, version: str) -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        probe = subprocess.run([str(candidate), "-c", ""], capture_output=True, check=False)
        if probe.returncode == 0:
            done = dev("--help", python=str(candidate), PATH=str(tmp_path))
            assert done.returncode == 1
            assert f"needs Python 3.11 or newer, and this is Python {version} " in done.stderr
            assert "Traceback" not in done.stderr
            return
    pytest.skip(f"no Python {version} here")


def test_unwritable_place(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = told(dev("docs", DEV_VENV=str(tmp_path / "file" / "venv")))
    assert "Can't write" in message
    assert "DEV_VENV=" in message


def test_no_network(dev: Dev, tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9/simple"
    settings = {"PIP_INDEX_URL": closed, "PIP_EXTRA_INDEX_URL": closed, "PIP_CONFIG_FILE": os.devnull}
    message = told(dev("docs", DEV_VENV=str(tmp_path / "venv"), PIP_NO_CACHE_DIR="1", **settings))
    assert "The package index can't be reached" in message


def test_python_without_venv_support(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ensurepip is not available\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(Problem, match=r"(?s)ensurepip is not available.*apt install python3-venv"):
        uv.install(tmp_path / "uv", "1")
    assert not (tmp_path / "uv").exists()


def test_release(dev: Dev, checkout: Path) -> None:
    notes = checkout / "docs" / "changelog.d"
    (notes / "pyncette-redis.test.md").write_text("Fixed: this\nand that.\n")
    (notes / "pyncette-core.test.md").unlink(missing_ok=True)
    for note in notes.glob("pyncette-mysql.*"):
        note.unlink()
    assert "Nothing to say on pyncette-mysql" in told(dev("release", "pyncette-redis=9.0.0", "pyncette-mysql=9.0.0"))
    assert "not a distribution" in told(dev("release", "pyncette-rdis=9.0.0"))
    assert "write the version as" in told(dev("release", "pyncette-redis=9"))
    done = dev("release", "pyncette-redis=9.0.0")
    assert done.returncode == 0, done.stderr
    assert "git tag pyncette-redis-9.0.0" in done.stderr
    assert not (notes / "pyncette-redis.test.md").exists()
    changelog = (checkout / "docs" / "changelog.md").read_text()
    assert "\n## pyncette-redis 9.0.0 (20" in changelog
    assert "- Fixed: this\n  and that.\n" in changelog
    built = {path.name for path in (checkout / "dist").iterdir()}
    assert built == {"pyncette_redis-9.0.0-py3-none-any.whl", "pyncette_redis-9.0.0.tar.gz"}


def test_requirements() -> None:
    ours, others = closure(["pyncette[redis]", "rich>1"])
    assert ours == {"pyncette", "pyncette-core", "pyncette-sqlite", "pyncette-redis"}
    assert {"rich>1"} < others
    assert closure(["pyncette[all]"])[1] > closure(["pyncette[redis]"])[1]
    assert "pyncette" not in requirements_text({"rich", *ours}).split("\n", 1)[1]


def test_parts_of_the_suite() -> None:
    assert places(["redis", "-k", "redis"]) == ["packages/pyncette-redis", "-k", "redis"]
    assert places(["packages", "--lf"]) == ["packages", "--lf"]
    assert places(["docs"]) == ["tests/docs"]
    assert places(["valkey"]) == ["packages", "-k", "valkey"]
    assert places(["-k", "redis"]) == ["-k", "redis"]
    assert processes(["--lf"]) == processes([]) != ()
    assert processes(["-n0"]) == processes(["tests/docs/test_typing.py"]) == ()


def test_script_without_requirements(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("print(1)\n")
    assert script_requirements(tmp_path / "plain.py") == []


def test_this_python_is_at_hand() -> None:
    versions = list(at_hand())
    assert sys.version_info[:2] in versions
    assert versions == sorted(versions)
    assert versions[0] >= (3, 11)
