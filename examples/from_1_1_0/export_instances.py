"""Writes the instances of all dynamic tasks of an app to a file. Runs with pyncette 1.1.0.

    python export_instances.py app:app instances.jsonl

`app:app` is module and name of the app. Stop its workers first.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any


async def instances(context: Any, queue: Any) -> AsyncIterator[Any]:
    """One after the other; list_tasks of 1.1.0 returns pages."""
    token = None
    while True:
        page = await context.list_tasks(queue, limit=1000, continuation_token=token)
        for state in page.tasks:
            yield state
        token = page.continuation_token
        if token is None:
            return


def row(task: Any, state: Any) -> str:
    """An instance as JSON, with the moment at which it is due next."""
    one = state.task
    due = state.scheduled_at.isoformat()
    fields = {"task": task.name, "instance": one.name, "next": due, "args": one.extra_args}
    if one.execute_at is not None:
        fields["execute_at"] = due
    elif one.interval is not None:
        fields["interval"] = one.interval.total_seconds()
    else:
        fields.update(schedule=one.schedule, timezone=one.timezone)
    return json.dumps(fields)


async def export(app: Any, path: str) -> None:
    count = 0
    async with app.create() as context:
        with open(path, "w", encoding="utf-8") as file:  # noqa: ASYNC230 - nothing else runs here
            for task in app._tasks:  # noqa: SLF001 - 1.1.0 has no public name for them
                if not task.dynamic:
                    continue  # static tasks start over by themselves
                # list_tasks of a partitioned task finds nothing in 1.1.0: its partitions are asked instead.
                for queue in task.get_partitions() if hasattr(task, "get_partitions") else [task]:
                    async for state in instances(context, queue):
                        file.write(row(task, state) + "\n")
                        count += 1
    print(f"{count} instances exported.")


if __name__ == "__main__":
    sys.path.insert(0, "")
    module, _, name = sys.argv[1].partition(":")
    asyncio.run(export(getattr(importlib.import_module(module), name or "app"), sys.argv[2]))
