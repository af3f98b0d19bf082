"""Programs from Debian packages, unpacked into the cache so that they run as they are, on any Debian.

Every program of a tree is started through the loader and the C library of its own tree, therefore those of
Debian's unstable release run on a stable one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import apt
from .cache import Unavailable, build_once, folder, run

# Of the dependencies only libraries are needed, and not those that serve maintainer scripts, PAM, Perl and the JIT.
LIBRARIES = re.compile(
    r"(lib|zlib1g)(?!audit-|c-bin|c-l10n|db5|gdbm|llvm|pam-modules|pam-runtime|perl|semanage|sepol|z3-|.*-perl$)"
)
# Headless Java names libraries for printing, fonts and smart cards as well.
JAVA_LIBRARIES = re.compile(r"(openjdk-.*|libc6|libgcc-s1|libstdc\+\+6|zlib1g)$")

# Written into every tree's name: raise it when the way of unpacking changes.
FORMAT = 2
PROGRAMS = (
    "usr/bin/*",
    "usr/sbin/*",
    "usr/lib/postgresql/*/bin/*",
    "usr/lib/jvm/*/bin/*",
    "usr/lib/chromium/chromium-headless-shell",
)
# Below the folders that loaders look into.
FURTHER_LIBRARIES = ("usr/lib/*-linux-gnu/pulseaudio",)
NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons", "var")


@dataclass(frozen=True, slots=True)
class Tree:
    """Packages of one Debian suite that are unpacked together."""

    name: str
    suite: str
    packages: tuple[str, ...]
    libraries: re.Pattern[str] = LIBRARIES

    @property
    def identity(self) -> str:
        """What must be the same for an unpacked tree to be used again."""
        parts = (FORMAT, self.suite, self.packages, self.libraries.pattern, apt.architecture())
        return f"{self.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"

    def unpack(self) -> Path:
        """Return the tree's root; the first call on a machine downloads and unpacks.

        :raises Unavailable: the packages cannot be had.
        """
        return build_once(folder() / "trees" / self.identity, self._build)

    def program(self, pattern: str) -> Path:
        """Return the one program of the tree whose path matches `pattern`."""
        found = sorted(self.unpack().glob(pattern))
        if not found:
            raise Unavailable(f"Debian's {' '.join(self.packages)} of {self.suite} has no {pattern}")
        return found[0]

    def _build(self, root: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder()) as debs:
            for deb in apt.download(self.suite, self.packages, self._keeps, Path(debs)):
                run("dpkg-deb", "--extract", deb, root)
        for path in NOT_NEEDED:
            shutil.rmtree(root / path, ignore_errors=True)
        _relink(root)
        _wrap_programs(root)

    def _keeps(self, package: str) -> bool:
        return self.libraries.match(package) is not None


def _relink(root: Path) -> None:
    """Point absolute links into the tree; they would leave it."""
    for link in [path for path in root.rglob("*") if path.is_symlink()]:
        target = link.readlink()
        if target.is_absolute() and os.path.lexists(inside := root / target.relative_to("/")):
            link.unlink()
            link.symlink_to(os.path.relpath(inside, link.parent))


def _wrap_programs(root: Path) -> None:
    """Make of each program three files: a script of its name, the program (.elf) and the loader (.ld).

    The loader is a link next to the program, for two reasons: Java finds its home by /proc/self/exe,
    which is the loader, and a list of processes shows whose loader it is.
    """
    patterns = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", *FURTHER_LIBRARIES)
    folders = [path for pattern in patterns for path in root.glob(pattern) if path.is_dir()]
    loader = next(path for each in folders for path in each.glob("ld-linux-*.so.*")).resolve()
    programs = [path for pattern in PROGRAMS for path in root.glob(pattern)]
    for program in programs:
        if program.is_symlink() or not program.is_file() or not _is_elf(program):
            continue
        program.rename(f"{program}.elf")
        Path(f"{program}.ld").hardlink_to(loader)
        libraries = ":".join(f"$here/{os.path.relpath(each, program.parent)}" for each in folders)
        program.write_text(
            "#!/bin/sh\n"
            "program=$0\n"
            '[ -L "$0" ] && program=$(readlink -f "$0")\n'  # from a virtual environment, which is found by $0
            "here=${program%/*}\n"
            f'exec "$here/{program.name}.ld" --inhibit-cache --argv0 "$0" --library-path "{libraries}"'
            f' "$here/{program.name}.elf" "$@"\n'
        )
        program.chmod(0o755)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
