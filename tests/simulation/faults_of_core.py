"""Faults to put into core: each is one change of its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault.

    :ivar module: of ``pyncette``.
    :ivar old: what is written there, once.
    :ivar new: what is written instead.
    :ivar seeds: it is found within this many.
    """

    name: str
    module: str
    old: str
    new: str
    seeds: int = 200


MUTANTS = (
    Mutant(
        "writer: two writes of one record leave in one batch",
        "_leases.writer",
        "if key in batch or key in delayed:",
        "if key in delayed:",
        seeds=1000,
    ),
    Mutant(
        "writer: a conflict counts as stored",
        "_leases.writer",
        "                self._conflict(write)\n            else:",
        "                self._applied(write, change.new)\n            else:",
    ),
    Mutant(
        "writer: what met a conflict is not tried again",
        "_leases.writer",
        "self._waiting.extendleft(write for write in reversed(batch) if not write.done)",
        "self._waiting.extendleft(())",
    ),
    Mutant(
        "writer: a record is not read again after a conflict",
        "_leases.writer",
        "            write.fresh = False  # until the answer is here, what is stored is unknown",
        "            write.fresh = True",
        seeds=1000,
    ),
    Mutant(
        "held: another worker's lease is settled",
        "_leases.held",
        "if stored is None or not lease.holds(self.record, stored):",
        "if stored is None:",
        seeds=1000,
    ),
    Mutant(
        "held: a renewal prolongs nothing",
        "_leases.held",
        "            return None\n        return lease.extend(held.record, locked_until=now + self._duration,",
        "            return None\n        return lease.extend(held.record, locked_until=now,",
    ),
    Mutant(
        "held: what is stored is not taken up",
        "_leases.held",
        "        self.record = stored\n        return True",
        "        return True",
        seeds=1000,
    ),
    Mutant(
        "held: executed at most once though the lease was lost",
        "_leases.held",
        "        if self.held.lost:\n            raise LeaseLostException(self.held.task)",
        "",
        seeds=5000,
    ),
    Mutant(
        "renewals: none is due",
        "_leases.renewals",
        "    return left <= lease // 2 or left > lease",
        "    return left > lease",
    ),
    Mutant(
        "coordinator: a process begins what it still executes",
        "_leases.coordinator",
        "if (mine := self.active.executing(record)) is not None and self._keeps(mine, before, record):",
        "if False:",
        seeds=5000,
    ),
    Mutant(
        "coordinator: leases of a tenth of a second",
        "_leases.coordinator",
        "ends = {task.queue.name: latest + task.policies.lease_microseconds for task in tasks}\n        claims",
        "ends = {task.queue.name: latest + 100_000 for task in tasks}\n        claims",
    ),
    Mutant(
        "outlook: a paused template is claimed",
        "_leases.outlook",
        "return not full and template.queue.name not in self._reading.control.paused",
        "return not full",
        seeds=500,
    ),
    Mutant(
        "lease: tokens do not grow",
        "lease",
        "now if fence < now else min(fence, MAX_FENCE - 1) + 1,",
        "max(fence, 1),",
    ),
    Mutant(
        "shares: concurrency is not counted",
        "_leases.shares",
        "limit - running.get(name, 0) for name, limit",
        "limit for name, limit",
        seeds=500,
    ),
    Mutant(
        "agenda: more is claimed than there is room for",
        "_loop.agenda",
        "return min(limit - active, UNSETTLED_FACTOR * limit - unsettled)",
        "return limit",
    ),
    Mutant(
        "agenda: the answer to a look is forgotten",
        "_loop.agenda",
        "        self._known, self._asked_at = next_ready, now\n",
        "        self._known, self._asked_at = None, now\n",
    ),
    Mutant(
        "poller: all but one of a claim are dropped",
        "_loop.poller",
        "                for lease in held:",
        "                for lease in held[:1]:",
    ),
    Mutant(
        "begin: at most once, the occurrence is not ended first",
        "_lifecycle.begin",
        "_ADVANCE = Execute(advance=True)",
        "_ADVANCE = Execute(advance=False)",
    ),
    Mutant(
        "begin: what was paused meanwhile is executed",
        "_lifecycle.begin",
        """if '"why"' in record.state and is_paused(State(record.state)):  # while""",
        "if False:  # while",
        seeds=5000,
    ),
    Mutant(
        "steering: what is retried after it was dead may be skipped",
        "_lifecycle.steering",
        "state.record_attempts(Attempts(record.due_at))",
        "state.record_attempts(None)",
    ),
    Mutant(
        "choice: max_lateness is ignored",
        "_lifecycle.choice",
        "if lateness is not None and not begun:",
        "if False:",
        seeds=500,
    ),
    Mutant(
        "choice: LATEST takes the earliest",
        "_lifecycle.choice",
        "if policies.catching_up is CatchUp.LATEST:",
        "if False:",
        seeds=500,
    ),
    Mutant(
        "end: occurrences that are skipped are not counted",
        "_lifecycle.end",
        "    add_skips(state, to.skips, case.now, policies.keep_runs)\n    store_window",
        "    store_window",
        seeds=500,
    ),
    Mutant(
        "end: what has failed for the last time is not held",
        "_lifecycle.end",
        "        return policies.on_exhausted is OnExhausted.HOLD",
        "        return False",
        seeds=500,
    ),
    Mutant(
        "end: pause_after counts one too many",
        "_lifecycle.end",
        "row >= policies.pause_after:",
        "row > policies.pause_after:",
        seeds=500,
    ),
    Mutant(
        "onward: the next occurrence counts from now",
        "_lifecycle.onward",
        "following = spec.following(due_at)",
        "following = spec.following(now)",
    ),
    Mutant(
        "again: one attempt too many",
        "_lifecycle.again",
        "if failed >= retry.max_attempts:",
        "if failed > retry.max_attempts:",
    ),
    Mutant(
        "again: no delay before a retry",
        "_lifecycle.again",
        "at = attempt.ended_at + retry.pause(failed, chance)",
        "at = attempt.ended_at",
    ),
    Mutant(
        "cutting: timeouts are far too long",
        "_lifecycle.cutting",
        "return None if timeout is None else started_at + timeout",
        "return None if timeout is None else started_at + 100 * timeout",
        seeds=500,
    ),
    Mutant(
        "moments: jitter is ignored",
        "_lifecycle.moments",
        "        if not self._jitter:\n            return due_at",
        "        return due_at",
        seeds=500,
    ),
    Mutant(
        "state: one run more than max_runs",
        "_tasks.state",
        'return self.past["began"] >= max_runs',
        'return self.past["began"] > max_runs',
        seeds=2000,
    ),
    Mutant(
        "spec: end_at is ignored",
        "_tasks.spec",
        "return self.end_at is not None and moment > self.end_at",
        "return False",
        seeds=2000,
    ),
    Mutant(
        "extra: of several triggers one is executed",
        "_lifecycle.extra",
        "        return extra.asked.pop(0)",
        "        extra.asked[1:] = []\n        return extra.asked.pop(0)",
        seeds=2000,
    ),
    Mutant(
        "extra: a backfill skips every other moment",
        "_lifecycle.extra",
        "following = spec.following(run.at)",
        "following = spec.following(spec.following(run.at))",
        seeds=1000,
    ),
    Mutant(
        "scheduling: an update puts the next occurrence off",
        "_lifecycle.scheduling",
        "if stored.schedule == spec.schedule and stored.bounds == spec.bounds:",
        "if False:",
        seeds=1000,
    ),
    Mutant(
        "registration: an instance that is unscheduled stays",
        "_leases.registration",
        "        self.existed = True\n        return Change(self.known, None)",
        "        self.existed = True\n        return None",
        seeds=500,
    ),
    Mutant(
        "control: one operator overwrites what another has said",
        "_leases.control",
        "before = decode(self.known.spec) if self.known else Control()",
        "before = self._reading.control",
        seeds=2000,
    ),
    Mutant(
        "clock: the later bound of the storage's time",
        "clock",
        "return monotonic + self._reading.later(monotonic).low",
        "return monotonic + self._reading.later(monotonic).high",
    ),
    Mutant(
        "clock: drift between two readings is ignored",
        "clock",
        "return monotonic + self._reading.later(monotonic).low",
        "return monotonic + self._reading.low",
    ),
    Mutant(
        "clock: the storage's time is not followed",
        "clock",
        "        self._reading = reading if known is None else known.narrowed(reading)\n",
        "",
    ),
)
