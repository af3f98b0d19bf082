"""How much of each queue is claimed. Pure; times are microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pyncette._tasks.task import Task
from pyncette.record import QueueClaim, Record

RECENT = 5_000_000
"""What became ready no longer ago than this counts as on time. A queue with older records is behind: half of what is
claimed of it is kept for what is on time, so that a backlog does not delay it."""


def room_left(tasks: Iterable[Task], running: Mapping[str, int]) -> dict[str, int]:
    """How many more executions each template may have here, of those with ``concurrency``.

    :param running: how many each has.
    """
    limits = {task.template.canonical_name: task.policies.concurrency for task in tasks}
    return {name: limit - running.get(name, 0) for name, limit in limits.items() if limit is not None}


def open_tasks(tasks: Iterable[Task], room: Mapping[str, int]) -> list[Task]:
    """Those of which more may be executed."""
    return [task for task in tasks if not room or room.get(task.template.canonical_name, 1) > 0]


def shared_out(
    tasks: Iterable[Task],
    share: int,
    *,
    ends: Mapping[str, int],
    room: dict[str, int],
    behind: Iterable[str],
    now: int,
) -> Iterator[QueueClaim]:
    """What to claim of each queue: ``share``, or less where ``room`` is short, which is counted down.

    :param ends: the end of the leases by queue.
    :param behind: queues that have a backlog.
    """
    for task in tasks:
        queue, template = task.queue, task.template.canonical_name
        wanted = share
        if room and template in room:
            wanted = min(share, room[template])
            room[template] -= wanted
        if wanted <= 0:
            continue
        end = ends[queue.name]
        if wanted == 1 or queue.name not in behind:
            yield QueueClaim(queue, wanted, end)
            continue
        recent = now - RECENT
        yield QueueClaim(queue, -(-wanted // 2), end, since=recent)
        yield QueueClaim(queue, wanted // 2, end, before=recent)


def is_behind(claimed: Iterable[Record], now: int) -> set[str]:
    """Queues of which something was claimed that should have been long before. Attempts that were lost or repeated say
    nothing about that."""
    return {record.queue for record in claimed if record.ready_at < now - RECENT and not record.attempt}
