"""Leases: who takes one, who may change a leased record, and tokens."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.history import History, Stored
from tests.simulation.plan import Plan

from .story import fields, holder, is_claim, is_held, is_live, lives, seconds, task_of


def leases(plan: Plan, history: History) -> Iterator[str]:
    """Only ready records are claimed, tokens grow, and a lease belongs to its owner until it expires."""
    for life in lives(history):
        task = task_of(plan, life.first.queue)
        if task is None:
            continue
        for change in life.changes:
            if change.old is None or change is life.changes[0]:
                continue
            yield from _claim(change, task.policies["lease_duration"].total_seconds())
            yield from _change(change)


def _claim(change: Stored, lease: float) -> Iterator[str]:
    old, new = change.old, change.new
    if old is None or new is None or not is_claim(change):
        return
    what = f"{change.by} claimed {new.key} at {seconds(change.at)}"
    if new.fence <= old.fence:
        yield f"{what} with the token {new.fence}, which does not exceed the previous one, {old.fence}"
    if is_live(old, change.at):
        yield f"{what}, though the lease of {old.locked_by} expires at {seconds(old.locked_until)}"
    run_asked_for = '"extra"' in old.state
    if old.ready_at > change.at and not (run_asked_for and not is_held(old)):
        yield f"{what}, though it is ready only at {seconds(old.ready_at)}"
    if holder(new) != change.by:
        yield f"{what} for {new.locked_by}"
    if new.locked_until is None or abs(new.locked_until - change.sent_at - lease * 1e6) > 1_500_000:
        yield f"{what} until {seconds(new.locked_until)}, though its leases last {lease:g} s"
    if new.attempt != old.attempt + 1 or (new.due_at, new.spec) != (old.due_at, old.spec):
        yield f"{what} and changed {old} to {new}"


def _change(change: Stored) -> Iterator[str]:
    """Nobody but the owner ends, shortens or takes an unexpired lease, except by removing or replacing the instance."""
    old, new = change.old, change.new
    if old is None or new is None or old.locked_by is None or is_claim(change):
        return
    ends = (new.locked_by, new.fence) != (old.locked_by, old.fence)
    shortens = new.locked_by == old.locked_by and (new.locked_until or 0) < (old.locked_until or 0)
    mine = holder(old) == change.by
    what = f"{change.by} changed {new.key} at {seconds(change.at)}"
    if shortens:
        yield f"{what}, and shortened its lease"
    has_failed = fields(old).get("fence") == old.fence  # then the lease is kept until the next attempt
    live = is_live(old, change.at) and not has_failed
    if ends and not mine and (live or not change.by.startswith("operator")):
        yield f"{what}, though {old.locked_by} held the lease until {seconds(old.locked_until)}"
    is_manual = '"extra":{"run"' in old.state  # during a manual run, the schedule may be changed
    if new.due_at != old.due_at and not (mine or is_manual) and live:
        yield f"{what}, and moved it during an execution"
