"""The quick checks."""

from __future__ import annotations

import time

from devtool.environment import Environment, say
from devtool.layout import PACKAGES, ROOT

TYPED = ("packages", "tests", "examples", ".dev", "docs")


def check(environment: Environment, *, fix: bool) -> int:
    """Runs every check, even if an earlier one failed. Returns 0 if all succeed."""
    if fix:
        environment.run("-m", "ruff", "check", "--fix", "--quiet")
        environment.run("-m", "ruff", "format", "--quiet")
    # mypy calls the conftest.py of each package's tests `conftest`: one at a time.
    conftests = sorted(str(path.relative_to(ROOT)) for path in PACKAGES.glob("*/tests/**/conftest.py"))
    mypy = ("-m", "mypy", "--python-version=3.11")
    steps = {
        "lint": ("-m", "ruff", "check"),
        "format": ("-m", "ruff", "format", "--check"),
        "spelling": ("-m", "codespell_lib"),
        "types": (*mypy, r"--exclude=packages/.*/conftest\.py$", *TYPED),
        **{f"types of {name}": (*mypy, name) for name in conftests},
        "types of the documentation": ("-m", "pytest", "-q", "tests/docs/test_typing.py"),
        "layers and ceilings": ("-m", "pytest", "-q", "tests/architecture"),
    }
    failed = []
    for name, arguments in steps.items():
        started = time.monotonic()
        status = environment.run(*arguments)
        say(f"{name}: {'failed' if status else 'fine'} ({time.monotonic() - started:.1f} s)")
        if status:
            failed.append(name)
    say(f"check: {', '.join(failed)} failed" if failed else "check: all fine")
    return 1 if failed else 0
