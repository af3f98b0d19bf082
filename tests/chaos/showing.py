"""Runs a plan, reads the journals, and checks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from .checker import Checker
from .journal import SECOND, read
from .report import report
from .scene import Plan, Stage
from .stores import Store


def show(plan: Plan, store: Store, folder: Path) -> dict[str, Any]:
    """Carry out the plan and return the report.

    :param folder: the folder for the processes' files.
    """
    scene = anyio.run(Stage(plan, store, folder).play)
    history = read(folder)
    lease = round(plan.lease * SECOND)
    verdict = Checker(history, scene.faults, scene.expected, scene.offset, lease).check()
    return report(plan, scene, history, verdict)
