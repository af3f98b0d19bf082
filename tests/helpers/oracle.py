"""What becomes of an instance, occurrence by occurrence: slow, plain, and written apart from the code that it checks.

Times are whole seconds. Occurrences lie ``STEP`` apart, the first one at ``STEP``; each is looked at by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

STEP = 10
LEASE = 20
LAST = 200 * STEP
DELAY = 7
"""Between attempts."""


@dataclass(frozen=True)
class Rules:
    """The policies of a task, in plain words."""

    catch_up: str = "all"
    lateness: int | None = None
    overlap: str = "queue"
    attempts: int | None = None  # with retry; None without
    max_lost: int = 2
    failure: str = "none"  # without retry: none, unlock, commit
    hold: bool = False
    pause_after: int | None = None
    end_at: int | None = None
    max_runs: int | None = None


@dataclass
class Oracle:
    """An instance."""

    rules: Rules
    fate: dict[int, str] = field(default_factory=dict)  # what became of each occurrence
    state: str = "alive"  # dead, paused, finished
    ready_at: int = STEP
    attempt: int = 0
    opened: int | None = None  # when the first attempt of the open run began
    recorded: bool = False  # whether an attempt's end is known to the storage
    current: int | None = None  # the occurrence of the open run, once that is settled upon
    failed: int = 0
    lost: int = 0
    row: int = 0
    began: int = 0
    dying: tuple[int, int] | None = None  # an attempt whose worker has died: its occurrence, and when it began
    skips: dict[int, str] = field(default_factory=dict)  # with the attempt under way
    busy_until: int | None = None  # what came due up to here while the instance was busy is skipped

    def occurrences(self) -> list[int]:
        """All that are left."""
        end = LAST if self.rules.end_at is None else self.rules.end_at
        return [each for each in range(STEP, end + 1, STEP) if each not in self.fate]

    @property
    def due_at(self) -> int | None:
        left = self.occurrences()
        return self.current if self.current is not None else (left[0] if left else None)

    # A claim, at ``now``: the occurrence that is executed, None if none is.

    def begin(self, now: int) -> int | None:
        if self.dying is not None and not self.note_death(now):
            return None
        if self.recorded and self.current is not None:
            if self.is_superseded(now):
                self.over("superseded", now)
                return None
            self.attempt += 1
            return self.current
        chosen = self.choose(now, first=self.attempt == 0)
        if chosen is not None and self.busy_until is not None and chosen > self.busy_until:
            self.busy_until = None  # what had been missed is done with
        if chosen is not None:
            self.attempt += 1
            if self.opened is None:
                self.opened = now
        return chosen

    def note_death(self, now: int) -> bool:
        """The worker of the attempt before has died. Whether another one may begin now."""
        assert self.dying is not None
        due, began = self.dying
        if self.rules.overlap == "cancel":
            opened = began if not self.recorded or self.opened is None else self.opened
            if any(opened < each <= now for each in self.after(due)):
                if not self.recorded:
                    self.opened = began
                    self.skip_before(due, began, late=self.attempt == 1)
                self.dying, self.current = None, due
                self.over("superseded", now)
                return False
        self.dying = None
        chooses = self.rules.catch_up == "latest" or self.rules.lateness is not None
        if self.rules.attempts is None and not chooses:
            return True
        self.lost += 1
        if not self.recorded:
            self.opened = began
            self.skip_before(due, began, late=self.attempt == 1)
        self.recorded, self.current = True, due
        if self.rules.attempts is None:
            self.again(now, now)
        elif self.lost >= self.rules.max_lost:
            self.over("failed", now)
        else:
            self.ready_at = max(self.ready_at + DELAY, now)
            self.wake_for_next(now)
        return False

    def choose(self, now: int, *, first: bool) -> int | None:
        """What is skipped counts once the end of an attempt is stored."""
        skips: dict[int, str] = {}
        left = self.occurrences()
        if first and self.rules.lateness is not None:
            skips = {each: "late" for each in left if each < now - self.rules.lateness}
        left = [each for each in left if each <= now and each not in skips]
        if self.rules.catch_up == "latest":
            skips |= dict.fromkeys(left[:-1], "coalesced")
            left = left[-1:]
        self.skips = skips
        if not left:
            self.fate |= skips
            self.go_on(now)
            return None
        return left[0]

    def skip_before(self, due: int, then: int, *, late: bool) -> None:
        """What an attempt had skipped that began ``then``."""
        for each in self.occurrences():
            if each < due:
                too_late = late and self.rules.lateness is not None and each < then - self.rules.lateness
                self.fate[each] = "late" if too_late else "coalesced"

    def after(self, due: int) -> list[int]:
        end = LAST if self.rules.end_at is None else self.rules.end_at
        return [each for each in range(STEP, end + 1, STEP) if each > due]

    def supersedes_at(self, due: int, opened: int) -> int | None:
        if self.rules.overlap != "cancel":
            return None
        return next((each for each in self.after(due) if each > opened), None)

    def is_superseded(self, now: int) -> bool:
        assert self.current is not None
        assert self.opened is not None
        at = self.supersedes_at(self.current, self.opened)
        return at is not None and at <= now

    def wake_for_next(self, now: int) -> None:
        assert self.current is not None
        if self.opened is not None and (at := self.supersedes_at(self.current, self.opened)) is not None:
            self.ready_at = min(self.ready_at, max(at, now))

    # The end of an attempt.

    def end(self, due: int, began: int, how: str, now: int) -> None:
        if how == "kill":
            self.dying, self.ready_at = (due, began), began + LEASE
            return
        if not self.recorded:
            self.opened = began
            self.fate |= self.skips
        self.skips, self.current = {}, due
        if how == "ok":
            self.over("succeeded", now)
        elif how == "superseded":
            self.over("superseded", now)
        elif how == "skip":
            self.over("by_task", now)
        elif how == "give up":
            self.over("failed", now)
        elif how == "cancel":
            self.again(now, now)
        elif how == "later":
            self.again(now + 3, now)
        else:
            self.fail(began, now)

    def fail(self, began: int, now: int) -> None:
        if self.rules.attempts is not None:
            self.failed += 1
            if self.failed >= self.rules.attempts:
                self.over("failed", now)
            else:
                self.again(now + DELAY, now)
        elif self.rules.failure == "commit":
            self.over("failed", now)
        elif self.rules.failure == "unlock":
            self.again(now + 1, now)
        else:
            self.recorded = True
            self.ready_at = max(began + LEASE, now)

    def again(self, at: int, now: int) -> None:
        self.recorded, self.ready_at = True, at
        self.wake_for_next(now)

    def over(self, outcome: str, now: int) -> None:
        assert self.current is not None
        due, opened = self.current, self.opened if self.opened is not None else now
        if outcome == "failed" and self.rules.hold:
            self.fate[due] = outcome
            self.state = "dead"
            return
        for each in self.occurrences():
            if each < due:
                raise AssertionError("left behind")
        self.fate[due] = outcome
        self.row = self.row + 1 if outcome == "failed" else 0 if outcome == "succeeded" else self.row
        self.began += 1
        last = self.rules.max_runs is not None and self.began >= self.rules.max_runs
        if not last:
            self.skip_after(due, opened, now)
        self.current = self.opened = None
        self.recorded = False
        self.attempt = self.failed = self.lost = 0
        if last:
            self.state = "finished"
            return
        self.go_on(now)
        if self.state == "alive" and self.rules.pause_after is not None and self.row >= self.rules.pause_after:
            self.state = "paused"

    def skip_after(self, due: int, opened: int, now: int) -> None:
        missed = [each for each in self.occurrences() if due < each <= now]
        if self.rules.overlap == "skip":
            since = opened if self.busy_until is None else self.busy_until
            for each in missed:
                if each > since:
                    self.fate[each] = "overlap"
            left = [each for each in missed if each <= since]
            self.busy_until = now if left else None
            if self.rules.catch_up != "all":
                for each in left:
                    self.fate[each] = "coalesced"
                self.busy_until = None
        elif self.rules.catch_up == "earliest":
            for each in missed:
                if each < now:
                    self.fate[each] = "coalesced"

    def go_on(self, now: int) -> None:
        left = self.occurrences()
        if not left:
            self.state = "finished"
            return
        self.attempt = 0
        self.ready_at = max(left[0], now)
