"""What the tests of all packages share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

pytest_plugins = ["tests.servers.plugin"]


def pytest_configure() -> None:
    """In a sandbox of Pants only this process knows where the packages are: tell those that the tests start."""
    if os.environ.get("PYNCETTE_TEST_SANDBOX"):
        roots = {str(path) for path in map(Path.resolve, map(Path, sys.path)) if path.is_relative_to(Path.cwd())}
        os.environ["PYTHONPATH"] = os.pathsep.join(sorted(roots))
