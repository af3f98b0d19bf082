"""Partitioned tasks: a dynamic task whose instances are spread over a fixed number of queues."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pyncette._validation.checks import check_count, is_index

from . import names
from .bound import P
from .task import PartitionSelector, Task

MAX_PARTITIONS = 100_000
"""An upper limit, because every process creates a task per partition."""


class Partition(Task):
    """A fixed shard of a partitioned task's instances.

    :ivar partition_id: from 0 to ``partition_count - 1``.
    """

    def __init__(self, whole: PartitionedTask, partition_id: int) -> None:
        self.whole = whole
        self.partition_id = partition_id
        super().__init__(
            whole.name,
            whole.task_func,
            schedule=None,
            args=whole.extra_args,
            policies=whole.policies,
            dynamic=True,
            arguments=whole.arguments,
        )

    def _canonical_name(self) -> str:
        return names.join(names.escape(self.name), str(self.partition_id))

    @property
    def enabled(self) -> bool:
        chosen = self.whole.enabled_partitions
        return self.whole.enabled and (chosen is None or self.partition_id in chosen)

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if value is not True:
            raise ValueError("Set enabled_partitions of the partitioned task to choose partitions.")

    @property
    def template(self) -> Task:
        return self.whole


class PartitionedTask(Task[P]):
    """A template whose instances live in ``partition_count`` queues.

    :ivar enabled_partitions: the partitions that this app executes, None for all; can be set until the loop runs.
    """

    def __init__(
        self,
        name: str,
        task_func: Any,
        *,
        partition_count: int,
        partition_selector: PartitionSelector = names.partition_of,
        enabled_partitions: Collection[int] | None = None,
        **kwargs: Any,
    ) -> None:
        check_count("partition_count", partition_count, MAX_PARTITIONS)
        if not callable(partition_selector):
            raise TypeError("partition_selector must be a function of partition_count and the instance's name.")
        super().__init__(name, task_func, dynamic=True, **kwargs)
        self.partition_count = partition_count
        self.partition_selector = partition_selector
        self._enabled_partitions: frozenset[int] | None = None
        self.enabled_partitions = enabled_partitions
        self.partitions: list[Partition] = [Partition(self, i) for i in range(partition_count)]

    @property
    def kind(self) -> names.Kind:
        return "partitioned"

    @property
    def enabled_partitions(self) -> Collection[int] | None:
        return self._enabled_partitions

    @enabled_partitions.setter
    def enabled_partitions(self, value: Collection[int] | None) -> None:
        chosen = None if value is None else frozenset(value)
        for i in chosen or ():
            if not is_index(i, self.partition_count):
                raise ValueError(f"enabled_partitions has {i!r}; partitions are 0 to {self.partition_count - 1}.")
        self._enabled_partitions = chosen

    @property
    def queues(self) -> Sequence[Task]:
        return self.partitions

    def parent_of(self, name: str) -> Task:
        chosen = self.partition_selector(self.partition_count, name)
        if not is_index(chosen, self.partition_count):
            raise ValueError(
                f"partition_selector chose partition {chosen!r} for {name!r}; "
                f"it must return a whole number from 0 to {self.partition_count - 1}."
            )
        return self.partitions[chosen]
