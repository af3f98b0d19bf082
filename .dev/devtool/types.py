"""Types as users see them: mypy and pyright on the built wheels.

On editable installs pyright can't resolve the shared package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from devtool import uv
from devtool.environment import Environment, say
from devtool.layout import LOCK, ROOT, closure, distributions, example_requirements
from devtool.wheels import build

# The types of all public symbols must be known; `--ignoreexternal` excludes those of drivers without types.
VERIFY = ("--verifytypes", "pyncette", "--ignoreexternal")
# The example of a backend is a separate distribution, which nothing installs here.
SETTINGS = {
    "typeCheckingMode": "standard",
    "include": ["examples", "calls"],
    "extraPaths": ["examples/etcd_backend/src"],
}


def check_types(environment: Environment) -> int:
    """Installs all wheels with all extras, verifies the public types, and checks examples and calls against them."""
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch) / "wheels"
        build(environment.interpreter, [d.folder for d in distributions().values()], wheels)
        python = Path(scratch) / "venv" / "bin" / "python"
        uv.run("venv", "--python", environment.interpreter, python.parents[1])
        ours = [f"{distribution.whole}=={distribution.version}" for distribution in distributions().values()]
        others = closure(example_requirements())[1]
        uv.run("pip", "install", "--python", python, "--find-links", wheels, "--constraints", LOCK, *ours, *others)
        say("pyright on the built wheels ...")
        # --verifytypes takes no --pythonpath: it looks for the first Python on the path.
        environ = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        pyright = [environment.interpreter, "-m", "pyright"]
        verified = subprocess.run([*pyright, *VERIFY], cwd=scratch, env=environ, check=False).returncode
        shutil.copytree(ROOT / "examples", Path(scratch) / "examples")
        shutil.copytree(ROOT / "tests" / "types", Path(scratch) / "calls")
        settings = Path(scratch) / "pyrightconfig.json"
        settings.write_text(json.dumps(SETTINGS))
        used = subprocess.run([*pyright, "--project", str(settings)], cwd=scratch, env=environ, check=False).returncode
        say("mypy on the built wheels ...")
        mypy = [environment.interpreter, "-m", "mypy", "--strict", "--python-executable", str(python)]
        called = subprocess.run([*mypy, "calls"], cwd=scratch, check=False).returncode
    return verified or used or called
