"""How much to claim from each queue, and in which order. Pure; times are microseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from pyncette._lifecycle.queueing import RECENT, is_retry_of_missed
from pyncette._tasks.task import Task
from pyncette.record import HELD, LEAST, Queue, QueueClaim, Record


def room_left(tasks: Iterable[Task], running: Mapping[str, int]) -> dict[str, int]:
    """How many more executions each template that sets ``concurrency`` may have in this process.

    :param running: how many each has now.
    """
    limits = {task.template.canonical_name: task.policies.concurrency for task in tasks}
    return {name: limit - running.get(name, 0) for name, limit in limits.items() if limit is not None}


def open_tasks(tasks: Iterable[Task], room: Mapping[str, int]) -> list[Task]:
    """The tasks that have room for another execution."""
    return [task for task in tasks if not room or room.get(task.template.canonical_name, 1) > 0]


def admitted(records: Iterable[Record], tasks: Mapping[str, Task], room: Mapping[str, int]) -> list[Record]:
    """The records that may be executed in this process: for each template, no more than it has room for.

    :param tasks: by queue.
    """
    left = dict(room)
    found = []
    for record in records:
        template = tasks[record.queue].template.canonical_name
        if left.get(template, 1) > 0:
            found.append(record)
            if template in left:
                left[template] -= 1
    return found


class Shares:
    """Divides free slots between what is on time and the backlog.

    In a queue with a backlog, what is on time is claimed first, for up to half of the slots wanted. The backlog gets
    the rest, which is all of them if nothing is on time. If a claim gave the backlog less than half, it comes first in
    the next one, so that it also gets its share when slots become free one at a time.

    :ivar behind: queues with a backlog.
    :ivar crowded: those of them in which retries of a failing backlog delay what is on time.
    """

    def __init__(self) -> None:
        self.behind: set[str] = set()
        self.crowded: set[str] = set()
        self._backlog_next = False  # whether the backlog comes first in the next claim
        self._backlog_next_in: set[str] = set()  # the same for each queue with a concurrency limit
        self._one_sided: set[str] = set()  # limited queues where a claim of one side yielded nothing in this pass

    def begin(self) -> None:
        """Begin a pass of one or more claims."""
        self._one_sided.clear()

    def claims(
        self, tasks: Iterable[Task], share: int, *, ends: Mapping[str, int], room: dict[str, int], now: int
    ) -> list[QueueClaim]:
        """What to claim from each queue: ``share``, or less if ``room`` is short. Decrements ``room``.

        Both sides of a queue together may ask for more than its share, because a claim stops when the slots are full;
        but not if executions of the task are limited.

        :param ends: when the leases end, by queue.
        """
        on_time: list[QueueClaim] = []
        late: list[QueueClaim] = []
        border = now - RECENT
        for task in tasks:
            queue, template = task.queue, task.template.canonical_name
            limited = template in room
            wanted = min(share, room[template]) if limited else share
            if wanted <= 0:
                continue
            if limited:
                room[template] -= wanted
            end = ends[queue.name]
            if queue.name not in self.behind:
                on_time.append(QueueClaim(queue, wanted, end))
                continue
            backlog_first = self._is_backlog_first(queue.name, limited=limited)
            first = max(1, wanted // 2) if backlog_first else wanted - wanted // 2
            second = wanted - first if limited else wanted
            old, recent = (first, second) if backlog_first else (second, first)
            if recent:
                on_time.append(QueueClaim(queue, recent, end, since=border))
            if old:
                late.append(QueueClaim(queue, old, end, before=border))
        return [*late, *on_time] if self._backlog_next else [*on_time, *late]

    def _is_backlog_first(self, queue: str, *, limited: bool) -> bool:
        return (queue in self._backlog_next_in) != (queue in self._one_sided) if limited else self._backlog_next

    def claimed(
        self, claims: Sequence[QueueClaim], found: Sequence[Record], *, limit: int, limited: Collection[str], now: int
    ) -> set[str]:
        """Record the result of a claim.

        :param found: the claimed records, as they were before the claim.
        :param limit: the claim's limit.
        :param limited: queues whose executions are limited.
        :return: queues that may have more.
        """
        border = now - RECENT
        late = Counter(record.queue for record in found if record.ready_at < border)
        all_of = Counter(record.queue for record in found)
        more: set[str] = set()
        for queue, sides in _by_queue(claims).items():
            for claim in sides:
                count = _count(claim, late[queue], all_of[queue])
                if count >= claim.limit:
                    more.add(queue)
                    if claim.since != LEAST and any(is_retry_of_missed(each) for each in found if each.queue == queue):
                        self.crowded.add(queue)
                elif claim.before != HELD and len(found) < limit:
                    self.behind.discard(queue)  # the whole backlog was claimed
            if queue in limited and len(sides) == 1 and _is_partial(sides[0]) and not all_of[queue]:
                if queue not in self._one_sided:
                    more.add(queue)
                self._one_sided.add(queue)
        self.behind |= queues_behind(found, now)
        self._remember(late, all_of, limited)
        return more

    def _remember(self, late: Mapping[str, int], all_of: Mapping[str, int], limited: Collection[str]) -> None:
        """Remember which side comes first in the next claim."""
        for queue in all_of:
            if queue in limited:
                backlog_next = queue in self.behind and 2 * late[queue] < all_of[queue]
                (self._backlog_next_in.add if backlog_next else self._backlog_next_in.discard)(queue)
        total = sum(count for queue, count in all_of.items() if queue not in limited)
        if total:
            old = sum(count for queue, count in late.items() if queue not in limited)
            self._backlog_next = bool(self.behind) and 2 * old < total


def queues_behind(claimed: Iterable[Record], now: int) -> set[str]:
    """Queues whose records were claimed much later than they were ready. Retries and lost attempts don't count: they
    don't show that the queue has a backlog."""
    late = (record for record in claimed if record.ready_at < now - RECENT and not record.attempt)
    return {record.queue for record in late if not record.static}


def exhausted_by(claims: Sequence[QueueClaim], found: Sequence[Record], limit: int) -> list[Queue]:
    """The queues that a claim for at most ``limit`` has emptied. If it reached its limit, these are the queues before
    the last one that yielded something, and static queues that yielded their only record."""
    if len(found) < limit:
        return [claim.queue for claim in claims]
    gave = {record.queue for record in found}
    last = next(place for place, claim in enumerate(claims) if claim.queue.name == found[-1].queue)
    cut = {claim.queue.name for claim in claims[last:]}
    queues = (claim.queue for claim in claims)
    return [queue for queue in queues if queue.name not in cut or (queue.static and queue.name in gave)]


def _by_queue(claims: Iterable[QueueClaim]) -> dict[str, list[QueueClaim]]:
    found: dict[str, list[QueueClaim]] = {}
    for claim in claims:
        found.setdefault(claim.queue.name, []).append(claim)
    return found


def _is_partial(claim: QueueClaim) -> bool:
    return (claim.since, claim.before) != (LEAST, HELD)


def _count(claim: QueueClaim, late: int, all_of: int) -> int:
    """How many of its queue's records a claim got."""
    if not _is_partial(claim):
        return all_of
    return late if claim.since == LEAST else all_of - late
