"""Ensures that the instances of a task are looked up in the partitions that they are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.task import Task
from pyncette.errors import PartitionCountException

from .control import ChangeControl, ControlReading
from .writer import Writer


class PartitionCounts:
    """The number of partitions of each task, according to the control record. It is stored nowhere else, so that a task
    can have another number once it is purged."""

    def __init__(self, reading: ControlReading, writer: Writer) -> None:
        self._reading = reading
        self._writer = writer

    async def check(self, tasks: Iterable[Task], *, note: bool = True) -> None:
        """
        :param note: whether to store counts that are not known yet. Pass False while the caller has a transaction open,
            which may block other writers.
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
            _compare(counts, write.control.partitions)  # another process may have stored its count first


def _compare(counts: Mapping[str, int], stored: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if stored.get(name, count) != count:
            raise PartitionCountException(name, declared=count, stored=stored[name])
