"""Sees that the instances of a task are looked for in the partitions in which they are stored."""

from __future__ import annotations

from collections.abc import Iterable

from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.task import Task
from pyncette.errors import PartitionCountException

from .control import ChangeControl, ControlReading
from .writer import Writer


class PartitionCounts:
    """Of how many partitions each task has. Each is looked up once, and stored if it is not known yet."""

    def __init__(self, reading: ControlReading, writer: Writer) -> None:
        self._reading = reading
        self._writer = writer
        self._checked: set[tuple[str, int]] = set()

    async def check(self, tasks: Iterable[Task], *, note: bool = True) -> None:
        """
        :param note: whether counts that are not known yet are stored. Not while the caller has a transaction open,
            which may keep others from writing.
        :raises PartitionCountException: the instances of a task are stored in another number of partitions.
        :raises RepositoryException: the storage failed.
        """
        counts = {task.canonical_name: task.partition_count for task in tasks if isinstance(task, PartitionedTask)}
        if counts.items() <= self._checked:
            return
        stored = (await self._reading.follow()).partitions
        for name, count in counts.items():
            if stored.get(name, count) != count:
                raise PartitionCountException(name, declared=count, stored=stored[name])
        if counts.keys() - stored.keys():
            if not note:
                return
            await self._writer.store(ChangeControl(lambda control, _: control.partitioned(counts), self._reading))
        self._checked |= counts.items()
