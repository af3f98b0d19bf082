"""Tells when the code of an app has changed.

By looking at the files again and again, which works wherever they are: in a container that mounts them, on a network
drive. The notifications of systems do not get there, and a library for them would be the only compiled part of this
program. A thousand files take some milliseconds a look.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

INTERVAL = 0.5
"""Seconds between two looks."""

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(slots=True)
class Watcher:
    """The Python files below a folder, but for what is hidden and for virtual environments."""

    root: Path
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def look(self) -> None:
        """Take note of how it is now."""
        self._seen = await anyio.to_thread.run_sync(self._look)

    async def change(self) -> str:
        """Return when files have changed since the last look, and no more do; the path of one of them."""
        before = self._seen
        while True:
            await anyio.sleep(INTERVAL)
            last, self._seen = self._seen, await anyio.to_thread.run_sync(self._look)
            if self._seen != before and self._seen == last:
                return min(path for path, _ in self._seen.items() ^ before.items())

    def _look(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if not _skipped(Path(folder, name))]
            for name in files:
                if name.endswith(".py"):
                    path = Path(folder, name)
                    try:
                        status = path.stat()
                    except OSError:  # it is just being replaced
                        continue
                    found[str(path.relative_to(self.root))] = (status.st_mtime_ns, status.st_size)
        return found


def _skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED or (folder / "pyvenv.cfg").exists()
