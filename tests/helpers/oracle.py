"""Computes the fate of each occurrence of an instance: slow, plain, and independent of the code that it checks.

Times are microseconds. Occurrences are ``STEP`` apart, the first one at ``STEP``, and each is handled by itself.
Workers have different clocks, so ``now`` may go back from one call to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.helpers.oracle_rules import BACKLOG, DELAY, LAST, LEASE, SECOND, STEP, Lease, Rules


@dataclass
class Oracle:
    """An instance."""

    rules: Rules
    fate: dict[int, str] = field(default_factory=dict)  # the outcome of each occurrence
    state: str = "alive"  # dead, paused, finished
    ready_at: int = STEP
    fence: int = 0  # the token of the last claim: its time, unless clocks went back
    lease: Lease | None = None
    left: bool = False  # whether a failed attempt has kept its lease
    attempt: int = 0
    ended: int = 0  # the number of ended attempts of the open run
    opened: int | None = None  # when its first attempt began
    current: int | None = None  # the occurrence of the open run, once it is chosen; or the one that is or was dead
    failed: int = 0
    lost: int = 0
    row: int = 0
    began: int = 0
    retried: int = 0  # runs that were dead, and now have another outcome
    why: bool = False  # whether it is paused, or will be when the current execution ends
    since: int | None = None  # when it was paused
    busy_until: int | None = None  # occurrences up to here came due while the instance was busy, and are skipped
    template_since: int | None = None  # when the template was paused
    pauses: list[tuple[int, int]] = field(default_factory=list)  # past pauses of the template
    running: dict[int, int] = field(default_factory=dict)  # at most once: the occurrences that have started, and when

    def left_over(self) -> list[int]:
        """All occurrences without an outcome."""
        end = LAST if self.rules.end_at is None else self.rules.end_at * SECOND
        return [each for each in range(STEP, end + 1, STEP) if each not in self.fate]

    @property
    def due_at(self) -> int | None:
        left = self.left_over()
        return self.current if self.current is not None else (left[0] if left else None)

    def ahead(self, due: int) -> list[int]:
        """The occurrences whose outcome is decided before that of ``due``."""
        return [each for each in self.fate if each > due]

    def gap(self, last: int, first: int) -> bool:
        """Whether there is an occurrence without an outcome in between."""
        return any(last < each < first for each in self.left_over())

    # A claim: the occurrence to execute; None if there is none.

    def claim(self, worker: int, now: int) -> int | None:
        before, was_leased = self.fence, self.lease is not None or self.left
        until = None if self.lease is None else self.lease.until
        self.fence = max(self.fence + 1, now)
        self.lease, self.left = None, False
        unknown = self.attempt > self.ended
        if self.why and was_leased:
            if unknown and self.follows:
                self.lose(before, until, now)
            else:
                self.hold(now)
            return None
        if self.attempt and self.is_superseded(before, now):
            due, skips = self.chosen_by_lost(before)
            self.fate |= skips
            self.over("superseded", due, before if self.opened is None else self.opened, now)
            return None
        if unknown and self.follows:
            self.lose(before, until, now)
            return None
        if not self.attempt and self.current is None and self.is_passed_over(now):
            return None
        return self.execute(worker, now)

    def is_passed_over(self, now: int) -> bool:
        """Skip occurrences that came due during a pause of the template, before one is chosen."""
        due = self.due_at
        assert due is not None
        end = next((end for start, end in self.pauses if start <= due < end), None)
        if end is not None:
            self.fate |= {each: "paused" for each in self.left_over() if each < end}
        elif not self.skip_template(due):
            return False
        self.go_on(now)
        return True

    def skip_template(self, due: int) -> bool:
        """Skip occurrences that came due later, during pauses of the template. Returns whether there were any."""
        before = len(self.fate)
        for start, end in self.pauses:
            if self.rules.skips_over and due < start:
                self.skip_paused(due, start, end)
        return len(self.fate) > before

    @property
    def follows(self) -> bool:
        return self.rules.attempts is not None or self.rules.chooses or self.rules.overlap != "queue"

    def execute(self, worker: int, now: int) -> int | None:
        skips: dict[int, str] = {}
        if self.current is None:
            chosen, skips = self.choose(now, begun=self.attempt > 0)
            if chosen is None:
                self.fate |= skips
                self.clear()
                self.go_on(now)
                return None
            if self.busy_until is not None and chosen > self.busy_until:
                self.busy_until = None  # the missed occurrences have been handled
        else:
            chosen = self.current
        if self.rules.once:
            self.fate |= skips
            return self.begin_once(chosen, now)
        self.attempt += 1
        self.ready_at = now + LEASE
        self.lease = Lease(worker, chosen, now, self.ready_at, skips)
        return chosen

    # At most once: an occurrence ends when it starts.

    def begin_once(self, due: int, now: int) -> int:
        """Earlier runs without an end within a lease become ``unknown``."""
        for each, began in self.running.items():
            if self.fate[each] == "running" and began < now - LEASE:
                self.fate[each] = "unknown"
        self.fate[due], self.running[due] = "running", now
        self.began += 1
        if self.rules.max_runs is not None and self.began >= self.rules.max_runs:
            self.state = "finished"
            return due
        self.skip_after(due, now, now, "running")
        self.go_on(now)
        return due

    def end_once(self, due: int, how: str, now: int) -> None:
        self.fate[due] = {"ok": "succeeded", "skip": "by_task"}.get(how, "failed")
        if self.state == "finished":
            return
        self.row = self.row + 1 if self.fate[due] == "failed" else 0 if how == "ok" else self.row
        if self.rules.pause_after is not None and self.row >= self.rules.pause_after and not self.why:
            self.why = True
            self.hold(now)

    def choose(self, now: int, *, begun: bool) -> tuple[int | None, dict[int, str]]:
        """Skipped occurrences are counted once the end of an attempt is stored."""
        skips: dict[int, str] = {}
        left = self.left_over()
        claimed = left[0]
        if not begun and self.rules.lateness is not None:
            skips = {each: "late" for each in left if each < now - self.rules.lateness * SECOND}
        left = [each for each in left if (each <= now or each == claimed) and each not in skips]
        if self.rules.catch_up == "latest":
            skips |= dict.fromkeys(left[:-1], "coalesced")
            left = left[-1:]
        return (left[0] if left else None), skips

    # A worker that has died, or has lost its lease.

    def lose(self, began: int, until: int | None, now: int) -> None:
        """The next claim notices attempts whose end is missing."""
        due, skips = self.chosen_by_lost(began)
        self.fate |= skips
        self.lost += self.attempt - self.ended
        self.opened = began if self.opened is None else self.opened
        lost_at = now if until is None else min(until, now)
        if self.rules.attempts is None:
            self.again(due, now, now)
        elif self.lost >= self.rules.max_lost:
            self.over("failed", due, self.opened, now)
        else:
            self.again(due, max(lost_at + DELAY, now), now)

    def chosen_by_lost(self, began: int) -> tuple[int, dict[int, str]]:
        """What the lost attempt had chosen to execute, and to skip."""
        if self.current is not None:
            return self.current, {}
        due = self.left_over()[0]
        if not self.rules.chooses:
            return due, {}
        chosen, skips = self.choose(began, begun=self.attempt > 1)
        return (due, {}) if chosen is None else (chosen, skips)

    # Superseded runs.

    def supersedes_at(self, due: int, opened: int) -> int | None:
        """The next occurrence that comes due after the run was opened, and will be executed."""
        if self.rules.overlap != "cancel":
            return None
        later = (each for each in self.left_over() if each > due and each > opened)
        return next((each for each in later if not self.in_pause(each)), None)

    def in_pause(self, moment: int) -> bool:
        """Whether the template was paused at that moment."""
        if self.template_since is not None and moment >= self.template_since:
            return True
        return any(start <= moment < end for start, end in self.pauses)

    def is_superseded(self, began: int, now: int) -> bool:
        due = self.due_at
        assert due is not None
        at = self.supersedes_at(due, began if self.opened is None else self.opened)
        return at is not None and at <= now

    def cut_at(self, due: int, began: int) -> int | None:
        """When the current execution is cancelled. It is not cancelled during a pause, as no other run would replace
        it."""
        return None if self.why else self.supersedes_at(due, began if self.opened is None else self.opened)

    # The end of an attempt.

    def renew(self, now: int) -> None:
        assert self.lease is not None
        self.ready_at = self.lease.until = max(self.lease.until, now + LEASE)

    def end(self, how: str, now: int) -> None:
        lease = self.lease
        assert lease is not None
        self.opened = lease.began if self.opened is None else self.opened
        self.fate |= lease.skips
        due = lease.due
        outcomes = {"ok": "succeeded", "superseded": "superseded", "skip": "by_task", "give up": "failed"}
        if how in outcomes:
            self.over(outcomes[how], due, self.opened, now)
        elif how == "cancel":
            self.again(due, now, now)
        elif how == "later":
            self.again(due, now + 3 * SECOND, now)
        elif self.rules.attempts is not None:
            self.failed += 1
            if self.failed >= self.rules.attempts:
                self.over("failed", due, self.opened, now)
            else:
                self.again(due, now + DELAY, now)
        elif self.rules.failure == "commit":
            self.over("failed", due, self.opened, now)
        else:
            self.again(due, now + SECOND if self.rules.failure == "unlock" else None, now)

    def again(self, due: int, at: int | None, now: int) -> None:
        lease, self.lease = self.lease, None
        self.current, self.ended = due, self.attempt
        if self.why:
            self.hold(now)
        elif at is None:
            assert lease is not None
            self.left, self.ready_at = True, lease.until
        else:
            assert self.opened is not None
            limit = self.supersedes_at(due, self.opened)
            self.ready_at = at if limit is None else min(at, max(limit, now))

    def over(self, outcome: str, due: int, opened: int, now: int) -> None:
        self.fate[due] = outcome
        self.row = self.row + 1 if outcome == "failed" else 0 if outcome == "succeeded" else self.row
        attempt = self.attempt
        self.clear()
        if outcome == "failed" and self.rules.hold:
            self.state, self.current, self.attempt, self.since = "dead", due, attempt, None
            return
        self.began += 1
        if self.rules.max_runs is not None and self.began >= self.rules.max_runs:
            self.state = "finished"
            return
        self.skip_template(due)
        until = self.since if self.since is not None else now
        until = until if self.template_since is None else min(until, self.template_since)
        self.skip_after(due, min(opened, until), until, outcome)
        if self.rules.pause_after is not None and self.row >= self.rules.pause_after:
            self.why = True
        self.go_on(now)

    def clear(self) -> None:
        """No run is open."""
        self.lease = self.current = self.opened = None
        self.left = False
        self.attempt = self.ended = self.failed = self.lost = 0

    def skip_after(self, due: int, opened: int, now: int, outcome: str) -> None:
        missed = [each for each in self.left_over() if due < each <= now]
        if self.rules.overlap == "skip":
            self.skip_overlapping(missed, opened)
        elif self.rules.catch_up == "earliest" and outcome != "superseded":
            self.fate |= {each: "coalesced" for each in missed if each < now}

    def skip_overlapping(self, missed: list[int], opened: int) -> None:
        since = opened if self.busy_until is None else self.busy_until
        left = [each for each in missed if each <= since]
        overlapping = dict.fromkeys((each for each in missed if each > since), "overlap")
        if not left:
            if all(each > since for each in self.left_over()):
                self.busy_until = None
        elif self.rules.catch_up != "all":
            overlapping |= dict.fromkeys(left, "coalesced")
            self.busy_until = None
        else:
            ahead = self.ahead(left[0])
            if ahead and (max(left) > min(ahead) or self.gap(max(missed), min(ahead))):
                return  # skipped occurrences ahead form one range; one that would split it is executed
            self.busy_until = max([*missed, *ahead, self.busy_until or 0])
        self.fate |= overlapping

    def go_on(self, now: int) -> None:
        left = self.left_over()
        if not left:
            self.state = "finished"
            return
        self.attempt = 0
        self.ready_at = max(left[0], now - BACKLOG)
        if self.why:
            self.hold(now)

    # What operators do.

    def pause_template(self, now: int) -> None:
        self.template_since = now if self.template_since is None else self.template_since

    def resume_template(self, now: int, *, catch_up: bool) -> None:
        if self.template_since is not None and not catch_up:
            self.pauses.append((self.template_since, now))
        self.template_since = None

    def hold(self, now: int) -> None:
        self.state, self.lease, self.left = "paused", None, False
        self.since = now if self.since is None else self.since

    def pause(self, now: int) -> None:
        if self.state not in ("alive", "paused"):
            self.why = True
            return
        running = self.lease is not None or self.left
        if not self.why and not (running and self.ready_at > now):
            self.hold(now)
        elif not self.why:
            self.since = now
        elif self.state == "alive" and self.ready_at <= now:
            return  # the first reason stays
        self.why = True

    def resume(self, now: int, *, catch_up: bool) -> None:
        if not self.why:
            return
        since, self.since = self.since, None
        self.why, self.row = False, 0
        if self.state not in ("alive", "paused"):
            return
        if self.state == "alive" and since is not None:
            since = max(since, self.fence + 1)
        was, self.state = self.state, "alive"
        due, skips = self.due_at, not catch_up and since is not None
        assert due is not None
        opened = self.attempt or self.current is not None
        if skips and since is not None and not opened and due >= since:
            self.fate |= {each: "paused" for each in self.left_over() if each < now}
            self.go_on(0)
            return
        if skips and since is not None:
            self.skip_paused(due, since, now)
        if was == "paused":
            self.ready_at = max(due, now - BACKLOG) if skips or opened else due

    def skip_paused(self, due: int, since: int, now: int) -> None:
        missed = max([due, *(each for each in self.left_over() if each < since)])
        came_due = [each for each in self.left_over() if missed < each < now]
        ahead = self.ahead(due)
        if not came_due or (ahead and (missed > min(ahead) or self.gap(came_due[-1], min(ahead)))):
            return  # one range, as above
        self.fate |= dict.fromkeys(came_due, "paused")
        if self.busy_until is not None:
            self.busy_until = max(came_due) if missed <= self.busy_until else None

    def retry(self, now: int) -> None:
        """The dead occurrence gets fresh attempts, and is executed even if others have come due."""
        due = self.current
        assert due is not None
        self.clear()
        self.current = due
        came_due = [each for each in self.left_over() if due < each <= now]
        ahead = self.ahead(due)
        joins = not (came_due and ahead and self.gap(came_due[-1], min(ahead)))
        self.fate |= dict.fromkeys(came_due if joins else [], "dead")
        del self.fate[due]
        self.retried += 1
        self.state, self.ready_at = "alive", max(min(due, now), now - BACKLOG)
        self.busy_until = self.busy_until if not (came_due and joins) else None
        if self.why:
            self.hold(now)
