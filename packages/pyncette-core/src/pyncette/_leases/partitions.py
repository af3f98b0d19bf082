"""Sees that the instances of a task are looked for in the partitions in which they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.task import Task
from pyncette.errors import PartitionCountException

from .control import ChangeControl, ControlReading
from .writer import Writer


class PartitionCounts:
    """Of how many partitions each task has, according to the control record. They are not remembered beyond it: whoever
    purges a task lets it have another number."""

    def __init__(self, reading: ControlReading, writer: Writer) -> None:
        self._reading = reading
        self._writer = writer

    async def check(self, tasks: Iterable[Task], *, note: bool = True) -> None:
        """
        :param note: whether counts that are not known yet are stored. Not while the caller has a transaction open,
            which may keep others from writing.
        :raises PartitionCountException: the instances of a task are stored in another number of partitions.
        :raises RepositoryException: the storage failed.
        """
        counts = {task.canonical_name: task.partition_count for task in tasks if isinstance(task, PartitionedTask)}
        if not counts:
            return
        stored = (await self._reading.follow()).partitions
        _compare(counts, stored)
        if note and counts.keys() - stored.keys():
            write = ChangeControl(lambda control, _: control.partitioned(counts), self._reading)
            await self._writer.store(write)
            _compare(counts, write.control.partitions)  # another process may have been quicker


def _compare(counts: Mapping[str, int], stored: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if stored.get(name, count) != count:
            raise PartitionCountException(name, declared=count, stored=stored[name])
