"""``pyncette.testing`` as users see it, without and with the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pyncette.testing


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_without_the_extra() -> None:
    run = python(
        "import sys; sys.modules.update(dict.fromkeys(['pytest', 'hypothesis', 'trio', 'sniffio']))\n"
        "from pyncette.testing import Capabilities, FaultPlan, FaultyRepository, ManualClock\n"
        "ManualClock().now()"
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_the_contract_says_what_it_needs(missing: str) -> None:
    run = python(f"import sys; sys.modules['{missing}'] = None\nfrom pyncette.testing import RepositoryContract")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"ImportError: The contract suite needs {missing}. Install the extra: pip install 'pyncette-core[testing]'"
    )


def test_asking_for_the_clock_loads_no_test_tools() -> None:
    run = python("import sys, pyncette.testing; print(sorted({'pytest', 'hypothesis'} & set(sys.modules)))")
    assert run.stdout == "[]\n", run.stderr


def test_all_exported_names_exist() -> None:
    assert all(hasattr(pyncette.testing, name) for name in pyncette.testing.__all__)
    assert set(pyncette.testing.__all__) <= set(dir(pyncette.testing))
    with pytest.raises(AttributeError, match="'Nothing'"):
        pyncette.testing.Nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("way", ["from pyncette.testing import RepositoryContract", "import pyncette.testing.contract"])
def test_asserts_of_the_suite_explain_themselves(tmp_path: Path, way: str) -> None:
    (tmp_path / "test_mine.py").write_text(
        f"{way}\n"
        "from pyncette.memory import MemoryRepository\n"
        "from pyncette.testing.contract.base import ContractBase\n"
        "async def test_it():\n"
        "    await ContractBase().shows(lambda: MemoryRepository().read([]), 1)\n"
    )
    options = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "-o", "anyio_mode=auto", "test_mine.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "assert [] == 1" in run.stdout
