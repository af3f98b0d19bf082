"""pytest plugin: settings for the tests of all packages."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

pytest_plugins = ["tests.distribution", "tests.estimate", "tests.matrix", "tests.sample", "tests.servers.plugin"]


def pytest_configure() -> None:
    """Set what the processes started by tests inherit.

    A shell without job control starts background processes with SIGINT ignored, which all our children would inherit.
    In a sandbox of Pants, only this process knows where the packages are.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("PYNCETTE_TEST_SANDBOX"):
        roots = {str(path) for path in map(Path.resolve, map(Path, sys.path)) if path.is_relative_to(Path.cwd())}
        os.environ["PYTHONPATH"] = os.pathsep.join(sorted(roots))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from scanning the collected tests, which stay until the end: that took a quarter of
    the time in each process. (`gc.freeze()` would hide them for good, even from hypothesis, which looks for
    referrers.)"""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
