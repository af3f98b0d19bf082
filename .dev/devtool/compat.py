"""Today's backends against the oldest core that they declare to work with, from its release tag."""

from __future__ import annotations

import re
import subprocess

from devtool.environment import Environment, say
from devtool.layout import ROOT, Distribution, closure, distributions, groups, name_of
from devtool.problem import Problem

CORE = "pyncette-core"


def oldest_core(backend: Distribution) -> str:
    """The lower bound of the backend's range of core versions, as a full version."""
    (wanted,) = (r for r in backend.metadata["dependencies"] if name_of(r) == CORE)
    bound = re.search(r">=\s*(\d+(?:\.\d+)*)", wanted)
    if bound is None:
        raise Problem(f"{backend.name} gives no lower bound: {wanted}")
    return ".".join([*bound[1].split("."), "0", "0"][:3])


def plan() -> dict[str, list[Distribution]]:
    """The backends by the oldest core that each of them allows, without those that allow only today's."""
    found: dict[str, list[Distribution]] = {}
    for distribution in distributions().values():
        if "entry-points" in distribution.metadata:
            found.setdefault(oldest_core(distribution), []).append(distribution)
    found.pop(distributions()[CORE].version, None)
    return found


def check_compatibility(usual: Environment) -> int:
    """Runs the contract of each backend on the oldest core that it allows."""
    worst = 0
    for version, backends in plan().items():
        say(f"{', '.join(b.name for b in backends)} on {CORE} {version} ...")
        tag = f"{CORE}-{version}"
        if not subprocess.run(["git", "tag", "--list", tag], cwd=ROOT, capture_output=True, check=True).stdout:
            raise Problem(f"There is no tag {tag}; fetch the tags, or raise the lower bound.")
        core = f"{CORE}[testing] @ git+{ROOT.as_uri()}@{tag}#subdirectory=packages/{CORE}"
        environment = Environment(usual.folder.with_name(f"{usual.folder.name}-core-{version}"))
        ours, others = closure([*(b.name for b in backends), f"{CORE}[testing]", *groups()["test"]])
        environment.prepare(ours - {CORE}, {*others, core})
        tests = [str(b.folder / "tests") for b in backends]
        worst = worst or environment.run("-m", "pytest", "-k", "contract", *tests)
    if not plan():
        say("Every backend's oldest core is the one here: the suite has run on it.")
    return worst
