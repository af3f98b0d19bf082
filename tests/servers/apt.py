"""Downloads Debian packages with a separate configuration of apt, which doesn't touch the system's and needs no
root."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .cache import Unavailable, folder, locked, run

MIRROR_VARIABLE = "PYNCETTE_TEST_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_ARE_GOOD_FOR = 24 * 3600
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise Unavailable(f"Debian's packages are used on {' and '.join(ARCHITECTURES)} only, this is {machine}")
    return ARCHITECTURES[machine]


def download(suite: str, wanted: Sequence[str], keep: Callable[[str], bool], into: Path) -> list[Path]:
    """Download `wanted` and those of their dependencies that `keep` accepts by name; apt checks their hashes."""
    with locked(f"apt-{suite}"):
        try:
            return _download(_environment(suite), wanted, keep, into)
        except Unavailable:  # yesterday's lists may name packages that the mirror no longer has
            return _download(_environment(suite, refresh=True), wanted, keep, into)


def _download(env: dict[str, str], wanted: Sequence[str], keep: Callable[[str], bool], into: Path) -> list[Path]:
    uris = run("apt-get", "install", "--yes", "--print-uris", *wanted, env=env)
    files = {file.split("_")[0]: into / file for file in re.findall(r"^'[^']+' (\S+) \d+", uris, re.MULTILINE)}
    kept = {name: file for name, file in files.items() if name in wanted or keep(name)}
    run("apt-get", "download", *kept, env=env, cwd=into)
    return list(kept.values())


def _environment(suite: str, *, refresh: bool = False) -> dict[str, str]:
    """Return the environment in which apt sees `suite` and nothing of the system, its lists no older than a day."""
    root = folder() / "apt" / suite
    config = root / "apt.conf"
    stamp = root / "updated"
    _configure(suite, root, config)
    env = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
    if refresh or not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_ARE_GOOD_FOR:
        run("apt-get", "-qq", "update", env=env)
        stamp.touch()
    return env


def _configure(suite: str, root: Path, config: Path) -> None:
    if not KEYRING.exists():
        raise Unavailable(f"there is no {KEYRING} here (Debian's package debian-archive-keyring)")
    for part in ("lists/partial", "cache/archives/partial", "state"):
        (root / part).mkdir(parents=True, exist_ok=True)
    sources = root / "sources.list"
    sources.write_text(f"deb [arch={architecture()} signed-by={KEYRING}] {_mirror()} {suite} main\n")
    # Only the machine's settings for fetching and trust: others act on the system's own cache.
    kept = re.compile(r'Acquire::(https?::\S+|Check-Valid-Until|Check-Date) "')
    machine = [line for line in run("apt-config", "dump").splitlines() if kept.match(line)]
    settings = {
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": "/dev/null",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": root / "state",
        "Dir::State::Lists": root / "lists",
        "Dir::State::status": "/dev/null",  # nothing is installed, so every dependency counts
        "Dir::Cache": root / "cache",
        "Dir::Cache::srcpkgcache": "",  # saves 50 MB, costs nothing here
        "APT::Architecture": architecture(),
        "APT::Architectures": architecture(),
        "APT::Install-Recommends": "false",
        "APT::pkgCacheGen::Essential": "none",
        "APT::Sandbox::User": pwd.getpwuid(os.geteuid()).pw_name,
        "APT::Update::Error-Mode": "any",  # otherwise an update that could not fetch anything succeeds
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",  # a tenth of the space
        "Acquire::PDiffs": "false",
        "Acquire::Retries": "2",
        "Debug::NoLocking": "true",
    }
    config.write_text("\n".join([*machine, *(f'{key} "{value}";' for key, value in settings.items())]) + "\n")


def _mirror() -> str:
    """Return the Debian mirror that apt is set up with on this machine."""
    given = os.environ.get(MIRROR_VARIABLE)
    if given:
        return given.rstrip("/")
    uris = run("apt-get", "update", "--print-uris", "-o", "Debug::NoLocking=true")
    sites = re.findall(r"^'([^']+?)/?/dists/", uris, re.MULTILINE)
    # "debian.list": a mirror list, mirror+file:/etc/apt/mirrors/debian.list
    for site in sites:
        if re.search(r"/debian(\.list)?$", site):
            return str(site)
    raise Unavailable(f"apt's sources name no Debian mirror; set {MIRROR_VARIABLE} to the address of one")
