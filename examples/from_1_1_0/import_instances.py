"""Schedules what `export_instances.py` has written, each instance with the next occurrence that it had.

Runs with pyncette 2.

    python import_instances.py app:app instances.jsonl

Can be repeated: an instance that exists already stays as it is. The status is 1 if something was refused.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import anyio

from pyncette import Pyncette

Instance = tuple[str, datetime, dict[str, Any]]


def instance(row: dict[str, Any]) -> Instance:
    """Name, next occurrence, and the keywords of `schedule_task`."""
    due = datetime.fromisoformat(row["next"])
    keywords: dict[str, Any] = {"args": row["args"]}
    if "execute_at" in row:
        keywords["execute_at"] = due
    elif "interval" in row:
        keywords["interval"] = timedelta(seconds=row["interval"])
    else:
        keywords |= {"schedule": row["schedule"], "timezone": row["timezone"]}
    return row["instance"], due, keywords


def rows(path: str) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


async def import_all(app: Pyncette, path: str) -> bool:
    """Returns whether everything was stored."""
    tasks = {task.name: task for task in app.declared}
    fine = True
    async with app.create() as context:
        for name, group in itertools.groupby(rows(path), lambda row: str(row["task"])):
            if name not in tasks:
                print(f"{name}: {sum(1 for _ in group)} instances, but no such task is declared.")
                fine = False
                continue
            result = await context.import_tasks(tasks[name], map(instance, group))
            print(f"{name}: {result.done} instances are stored, {len(result.refused)} were refused.")
            for refused, why in result.refused:
                print(f"  {refused}: {why}")
            fine = fine and not result.refused
    return fine


if __name__ == "__main__":
    sys.path.insert(0, "")
    module, _, attribute = sys.argv[1].partition(":")
    imported = getattr(importlib.import_module(module), attribute or "app")
    sys.exit(0 if anyio.run(import_all, imported, sys.argv[2]) else 1)
