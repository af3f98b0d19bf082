"""A headless browser from Debian's packages, and a checker of accessibility: for tests only."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from .cache import Unavailable, build_once, folder, run
from .trees import Tree

BROWSER = Tree("chromium", "bookworm", ("chromium-headless-shell", "chromium-common", "fonts-dejavu-core"))

# An npm package; its licence allows use, and it is not passed on.
AXE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> Path:
    """The browser; the first call on a machine downloads it.

    :raises Unavailable: it can't be had.
    """
    return BROWSER.program("usr/lib/chromium/chromium-headless-shell")


def arguments() -> list[str]:
    """The arguments to start it with: its child processes must use the loader of its own tree, too."""
    return [*QUIET, "--no-zygote", f"--browser-subprocess-path={executable()}"]


def axe() -> str:
    """The script that checks a page.

    :raises Unavailable: it can't be had.
    """
    return (build_once(folder() / f"axe-{AXE_SHA256[:8]}", _download) / "axe.min.js").read_text()


def _download(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        run("npm", "pack", "--silent", AXE, "--pack-destination", scratch, cwd=Path(scratch))
        (package,) = Path(scratch).glob("*.tgz")
        if hashlib.sha256(package.read_bytes()).hexdigest() != AXE_SHA256:
            raise Unavailable(f"{AXE} of the npm registry is not the file that it should be")
        target.mkdir()
        run("tar", "-xzf", package, "-C", target, "--strip-components=1", "--no-same-owner", "package/axe.min.js")
