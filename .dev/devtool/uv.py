"""uv creates environments, finds interpreters and resolves versions. It is installed into a separate folder."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devtool.layout import LOCK, ROOT
from devtool.problem import Problem

OFFLINE = re.compile(
    r"name resolution|Failed to establish|Connection|Network is unreachable|timed out|ProxyError|getaddrinfo"
    r"|error sending request|dns error|failed to fetch",
    re.IGNORECASE,
)
# pip's settings, for users who have not configured uv.
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def usual_folder() -> Path:
    """The folder of the usual environment."""
    return Path(os.environ.get("DEV_VENV") or ROOT / ".venv").absolute()


def run(*arguments: str | Path) -> str:
    """Calls uv and returns its output.

    :raises Problem: uv failed; the message is its own.
    """
    environment = usual_folder().with_name(f"{usual_folder().name}-uv")
    (version,) = re.findall(r"(?m)^uv==(\S+)", LOCK.read_text())
    if not (environment / version).exists():
        install(environment, version)
    done = subprocess.run(
        [environment / "bin" / "uv", "--no-progress", *arguments],
        cwd=ROOT,
        env=settings(str(environment / "bin" / "python")),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise failure(f"uv {arguments[0]}", done.stdout + done.stderr)
    return done.stdout


def install(environment: Path, version: str) -> None:
    """Creates uv's folder with venv and pip."""
    shutil.rmtree(environment, ignore_errors=True)
    python = os.path.realpath(sys.executable)
    made = subprocess.run([python, "-m", "venv", str(environment)], capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(environment, ignore_errors=True)
        raise Problem(
            f"{python} can't make a virtual environment:\n{tail(made.stdout + made.stderr)}\n"
            "On Debian and Ubuntu: sudo apt install python3-venv. Or run dev with another Python, "
            "for example: python3.12 dev ..."
        )
    # pip's own settings apply: index, proxy, certificates. PIP_USER would install outside the environment.
    environ = {key: value for key, value in os.environ.items() if key not in {"PIP_USER", "PIP_TARGET"}}
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--retries=2"]
    done = subprocess.run([*pip, f"uv=={version}"], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise failure("pip", done.stdout + done.stderr)
    (environment / version).touch()


def settings(python: str) -> dict[str, str]:
    """The environment variables for uv: pip's settings as its own, and pyenv's interpreters instead of its shims."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    path = [each for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if each != str(pyenv / "shims")]
    path += map(str, sorted(pyenv.glob("versions/3.*/bin")))
    environ = {"UV_INDEX_STRATEGY": "unsafe-best-match", **os.environ, "PATH": os.pathsep.join(path)}
    for name, value in re.findall(r"(?m)^(?:global|install|:env:)\.([\w-]+)=(.*)$", listed_by_pip(python)):
        if name in FROM_PIP:
            environ.setdefault(FROM_PIP[name], str(ast.literal_eval(value)))
    return environ


@functools.cache
def listed_by_pip(python: str) -> str:
    """pip's settings, which take half a second to query."""
    command = [python, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def failure(command: str, output: str) -> Problem:
    """What to say about a command that failed."""
    if OFFLINE.search(output):
        return Problem("The package index can't be reached: check the network, or pip's settings (pip config list).")
    return Problem(f"{command} failed:\n{tail(output)}")


def tail(output: str) -> str:
    kept = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING: Location")]
    return "\n".join(kept[-15:])
