"""Faults to insert into core: each is one change of its source. docs/promises.md lists them by their names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault.

    :ivar name: the module, and what goes wrong in plain words.
    :ivar module: its name within ``pyncette``.
    :ivar old: the text to replace, which must occur exactly once.
    :ivar new: the replacement.
    :ivar seeds: the number of seeds within which the simulation must find the fault.
    """

    name: str
    module: str
    old: str
    new: str
    seeds: int = 200


MUTANTS = (
    Mutant(
        "writer: two writes of one record are sent in one batch",
        "_leases.writer",
        "if key in batch or key in delayed:",
        "if key in delayed:",
        seeds=1000,
    ),
    Mutant(
        "writer: a write that met a conflict counts as stored",
        "_leases.writer",
        "                self._conflict(write)\n            else:",
        "                self._applied(write, change.new)\n            else:",
    ),
    Mutant(
        "writer: a write that met a conflict is not retried",
        "_leases.writer",
        "self._waiting.extendleft(write for write in reversed(batch) if not write.done)",
        "self._waiting.extendleft(())",
    ),
    Mutant(
        "writer: a record is not read again after a conflict",
        "_leases.writer",
        "            write.fresh = False  # until the reply arrives, it is unknown what is stored",
        "            write.fresh = True",
        seeds=1000,
    ),
    Mutant(
        "held: a lease that another worker has taken over is settled",
        "_leases.held",
        "if stored is None or not lease.holds(self.record, stored):",
        "if stored is None:",
        seeds=1000,
    ),
    Mutant(
        "held: a renewal does not extend the lease",
        "_leases.held",
        "            return None\n        return lease.extend(held.record, locked_until=now + self._duration,",
        "            return None\n        return lease.extend(held.record, locked_until=now,",
    ),
    Mutant(
        "held: the record as stored is not adopted",
        "_leases.held",
        "        self.record = stored\n        return True",
        "        return True",
        seeds=1000,
    ),
    Mutant(
        "held: an at-most-once run starts although its lease is lost",
        "_leases.held",
        "        if self.held.lost:\n            raise LeaseLostException(self.held.task)",
        "",
        seeds=5000,
    ),
    Mutant(
        "renewals: no lease is renewed",
        "_leases.renewals",
        "    return left <= lease // 2 or left > lease",
        "    return left > lease",
    ),
    Mutant(
        "coordinator: a process starts an instance that it is still executing",
        "_leases.coordinator",
        "if (mine := self.active.executing(record)) is not None and self._still_executing(mine, before, record):",
        "if False:",
        seeds=5000,
    ),
    Mutant(
        "coordinator: leases last only 0.1 seconds",
        "_leases.coordinator",
        "ends = {task.queue.name: latest + task.policies.lease_microseconds for task in tasks}\n        claims",
        "ends = {task.queue.name: latest + 100_000 for task in tasks}\n        claims",
    ),
    Mutant(
        "outlook: instances of a paused template are claimed",
        "_leases.outlook",
        "return not full and template.queue.name not in self._reading.control.paused",
        "return not full",
        seeds=500,
    ),
    Mutant(
        "lease: fencing tokens do not grow",
        "lease",
        "now if fence < now else min(fence, MAX_FENCE - 1) + 1,",
        "max(fence, 1),",
    ),
    Mutant(
        "shares: running executions do not count against concurrency",
        "_leases.shares",
        "limit - running.get(name, 0) for name, limit",
        "limit for name, limit",
        seeds=500,
    ),
    Mutant(
        "agenda: more is claimed than there are free slots",
        "_loop.agenda",
        "return min(limit - active, UNSETTLED_FACTOR * limit - unsettled)",
        "return limit",
    ),
    Mutant(
        "agenda: what the storage says about the next due record is forgotten",
        "_loop.agenda",
        "        self._known, self._asked_at = next_ready, now\n",
        "        self._known, self._asked_at = None, now\n",
    ),
    Mutant(
        "poller: only the first instance of a claim is executed",
        "_loop.poller",
        "                for lease in held:",
        "                for lease in held[:1]:",
    ),
    Mutant(
        "begin: an at-most-once occurrence is not marked as ended before it runs",
        "_lifecycle.begin",
        "_ADVANCE = Execute(advance=True)",
        "_ADVANCE = Execute(advance=False)",
    ),
    Mutant(
        "begin: an instance that was paused after its claim is executed",
        "_lifecycle.begin",
        """if '"why"' in record.state and is_paused(State(record.state)):  # paused""",
        "if False:  # paused",
        seeds=5000,
    ),
    Mutant(
        "steering: a dead occurrence that an operator retries may be skipped",
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
        "choice: CatchUp.LATEST picks the earliest",
        "_lifecycle.choice",
        "if policies.catching_up is CatchUp.LATEST:",
        "if False:",
        seeds=500,
    ),
    Mutant(
        "end: skipped occurrences are not counted",
        "_lifecycle.end",
        "    add_skips(state, to.skips, case.now, policies.keep_runs)\n    store_window",
        "    store_window",
        seeds=500,
    ),
    Mutant(
        "end: an instance is not kept as dead after its last attempt",
        "_lifecycle.end",
        "        return policies.on_exhausted is OnExhausted.HOLD",
        "        return False",
        seeds=500,
    ),
    Mutant(
        "end: pause_after pauses one failure too late",
        "_lifecycle.end",
        "row >= policies.pause_after:",
        "row > policies.pause_after:",
        seeds=500,
    ),
    Mutant(
        "continuation: the next occurrence is computed from the current time",
        "_lifecycle.continuation",
        "following = spec.following(due_at)",
        "following = spec.following(now)",
    ),
    Mutant(
        "again: a run gets one attempt too many",
        "_lifecycle.again",
        "if failed >= retry.max_attempts:",
        "if failed > retry.max_attempts:",
    ),
    Mutant(
        "again: retries have no delay",
        "_lifecycle.again",
        "at = attempt.ended_at + retry.pause(failed, chance)",
        "at = attempt.ended_at",
    ),
    Mutant(
        "cutting: timeouts are 100 times too long",
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
        "state: max_runs allows one run too many",
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
        "extra: of several triggers, only one is executed",
        "_lifecycle.extra",
        "        return extra.requested.pop(0)",
        "        extra.requested[1:] = []\n        return extra.requested.pop(0)",
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
        "scheduling: an update postpones the next occurrence",
        "_lifecycle.scheduling",
        "if stored.schedule == spec.schedule and stored.bounds == spec.bounds:",
        "if False:",
        seeds=1000,
    ),
    Mutant(
        "registration: an unscheduled instance is not removed",
        "_leases.registration",
        "        self.existed = True\n        return Change(self.known, None)",
        "        self.existed = True\n        return None",
        seeds=500,
    ),
    Mutant(
        "control: one operator overwrites another's pause",
        "_leases.control",
        "before = decode(self.known.spec) if self.known else Control()",
        "before = self._reading.control",
        seeds=2000,
    ),
    Mutant(
        "clock: the upper bound of the storage's time is used, not the lower",
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
        "clock: readings of the storage's clock are ignored",
        "clock",
        "        self._reading = reading if known is None else known.narrowed(reading)\n",
        "",
    ),
)
