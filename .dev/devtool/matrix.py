"""Environments beside the usual one: another Python, the lowest or the newest versions of the dependencies."""

from __future__ import annotations

from pathlib import Path

from devtool.environment import Environment
from devtool.layout import closure, distributions, groups
from devtool.lock import compile_pins
from devtool.pythons import Interpreter, choose

RESOLUTIONS = ("locked", "lowest", "newest")


def environment_for(python: str | None, resolution: str, requirements: list[str], usual: Environment) -> Environment:
    """The environment for a Python and a resolution; `usual` itself where neither is asked for.

    `lowest` takes the lowest versions that the distributions allow, `newest` the newest of all.
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
    write_lowest(pins, usual, requirements, chosen)
    return Environment(folder, chosen.path, pins)


def write_lowest(pins: Path, usual: Environment, requirements: list[str], chosen: Interpreter) -> None:
    """The lowest version of what our distributions and tests require themselves, the newest of all else."""
    python = f"--python={chosen.path}"
    own = {requirement for distribution in distributions().values() for requirement in distribution.requirements}
    direct = "\n".join(closure([*own, *groups()["test"]])[1])
    pins.write_text(compile_pins(usual, direct, "--resolution=lowest-direct", python))
    everything = "\n".join(closure(requirements)[1])
    pins.write_text(compile_pins(usual, everything, f"--constraints={pins}", python))
