"""Environments beside the usual one: another Python, the lowest or the newest versions of the dependencies."""

from __future__ import annotations

from devtool.environment import Environment
from devtool.layout import closure, groups
from devtool.lock import compile_pins
from devtool.pythons import choose

RESOLUTIONS = ("locked", "lowest", "newest")


def environment_for(python: str | None, resolution: str, requirements: list[str], usual: Environment) -> Environment:
    """The environment for a Python and a resolution; `usual` itself where neither is asked for.

    `lowest` takes the lowest version that each of the requirements itself allows, and the newest of what those need
    in turn; `newest` the newest of all.
    """
    if python is None and resolution == "locked":
        return usual
    chosen = choose(python)
    folder = usual.folder.with_name(f"{usual.folder.name}-{chosen}-{resolution}")
    if resolution == "locked":
        return Environment(folder, chosen.path)
    if resolution == "newest":
        return Environment(folder, chosen.path, None)
    usual.prepare([], groups()["lock"])
    pins = folder.with_name(f"{folder.name}.txt")
    wanted = "\n".join(sorted(closure(requirements)[1]))
    pins.write_text(compile_pins(usual, wanted, "--resolution=lowest-direct", f"--python={chosen.path}"))
    return Environment(folder, chosen.path, pins)
