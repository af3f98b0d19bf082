"""The occurrences of one instance: when they come due, with jitter, and which of them are skipped. Pure.

Everything is computed in closed form, never occurrence by occurrence. Times are microseconds since the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pyncette._tasks.policies import Policies
from pyncette._tasks.spec import Spec

from .values import Skipped


@dataclass(slots=True)
class Window:
    """Occurrences after ``since``, up to and including ``until``, were skipped and reported ahead of their turn.

    :ivar busy: whether they were skipped because the instance was busy. It counts as busy until it has caught up.
    """

    since: int
    until: int
    busy: bool = True

    def joins(self, since: int, until: int) -> bool:
        """Whether it and the window from ``since`` to ``until`` are contiguous. They might not be if a clock is set
        back."""
        return self.since == self.until or since <= self.since <= until


class Moments:
    """An instance's occurrences, according to its schedule and its task's policies."""

    __slots__ = ("_jitter", "_key", "_spec", "_window")

    def __init__(self, spec: Spec, policies: Policies, key: str, window: Window | None = None) -> None:
        self._spec = spec
        self._jitter = policies.jitter_microseconds
        self._key = key
        self._window = window

    def ready(self, due_at: int) -> int:
        """When the occurrence comes due: delayed by the instance's share of ``jitter``, but before the next one."""
        if not self._jitter:
            return due_at
        following = self._spec.following(due_at)
        step = self._jitter if following is None else min(self._jitter, following - due_at)
        return due_at + (_share(self._key) * step >> 160)

    def following(self, due_at: int) -> int | None:
        """The next occurrence after ``due_at`` that was not skipped ahead of its turn; None if there is none."""
        found = self._spec.following(due_at)
        window = self._window
        if window is not None and found is not None and window.since < found <= window.until:
            return self._spec.following(window.until)
        return found

    def first_ready_from(self, due_at: int, moment: int) -> int | None:
        """The first occurrence, from the one at ``due_at`` on, that comes due at ``moment`` or later."""
        if self.ready(due_at) >= moment:
            return due_at
        latest = self._spec.latest(due_at, moment)
        window = self._window
        if window is not None and window.since < latest <= window.until:
            return self._spec.following(window.until)
        if self.ready(latest) >= moment:
            return latest
        return self.following(latest)

    def last_ready_by(self, due_at: int, moment: int) -> int:
        """The last occurrence, from the one at ``due_at`` on, that is due by ``moment``; ``due_at`` if none is."""
        latest = self._spec.latest(due_at, moment)
        if self.ready(latest) > moment:
            latest = self._spec.latest(due_at, latest - 1)
        window = self._window
        if window is not None and window.since < latest <= window.until:
            latest = self._spec.latest(due_at, max(due_at, window.since))
        return latest

    def skipped(self, reason: str, due_at: int, before: int | None) -> Iterator[Skipped]:
        """The occurrences from ``due_at`` on that are earlier than ``before``, or all of them if that is None."""
        if before is None:
            before = self._spec.latest(due_at, _END) + 1
        window = self._window
        if window is None or before <= window.since or due_at > window.until:
            yield from self._range(reason, due_at, before)
            return
        yield from self._range(reason, due_at, min(before, window.since + 1))
        after = self._spec.following(window.until)
        if after is not None:
            yield from self._range(reason, after, before)

    def _range(self, reason: str, first: int, before: int) -> Iterator[Skipped]:
        if found := self._spec.skipped(first, before):
            yield Skipped(found.first, found.last, found.count, found.exact, reason)


def came_due(spec: Spec, policies: Policies, key: str, due_at: int) -> int:
    """When an occurrence comes due: :meth:`Moments.ready`."""
    return Moments(spec, policies, key).ready(due_at) if policies.jitter_microseconds else due_at


_END = 2**61
"""Later than every moment."""


def _share(key: str) -> int:
    """An instance's constant share of the jitter, evenly distributed from 0 to 2^160."""
    return int.from_bytes(hashlib.sha1(key.encode(), usedforsecurity=False).digest(), "big")
