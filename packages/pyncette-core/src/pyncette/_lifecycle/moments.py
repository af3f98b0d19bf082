"""The occurrences of one instance as they come due: nominal moments, jitter, and what is between. Pure.

Closed forms: nothing here takes time for each occurrence. Times are microseconds since the epoch.
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
    """Occurrences after ``since`` and up to ``until`` have been skipped, and reported, ahead of time.

    :ivar busy: whether that was because the instance was busy, which it stays until it has caught up.
    """

    since: int
    until: int
    busy: bool = True

    def joins(self, since: int, until: int) -> bool:
        """Whether what is skipped after ``since`` and up to ``until`` makes one piece with it: nothing is between.
        If clocks are set back, something may."""
        return self.since == self.until or since <= self.since <= until


class Moments:
    """An instance's occurrences, by its schedule and its task's policies."""

    __slots__ = ("_jitter", "_key", "_spec", "_window")

    def __init__(self, spec: Spec, policies: Policies, key: str, window: Window | None = None) -> None:
        self._spec = spec
        self._jitter = policies.jitter_microseconds
        self._key = key
        self._window = window

    def ready(self, due_at: int) -> int:
        """When the occurrence comes due: later than its moment by the instance's share of ``jitter``, but before the
        next one."""
        if not self._jitter:
            return due_at
        following = self._spec.following(due_at)
        step = self._jitter if following is None else min(self._jitter, following - due_at)
        return due_at + (_share(self._key) * step >> 160)

    def following(self, due_at: int) -> int | None:
        """The occurrence after the one at ``due_at`` that was not skipped ahead of time; None if there is none."""
        found = self._spec.following(due_at)
        window = self._window
        if window is not None and found is not None and window.since < found <= window.until:
            return self._spec.following(window.until)
        return found

    def first_ready_from(self, due_at: int, moment: int) -> int | None:
        """The first occurrence from the one at ``due_at`` on that comes due at ``moment`` or later."""
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
        """The last occurrence from the one at ``due_at`` on that has come due at ``moment``; that if none has."""
        latest = self._spec.latest(due_at, moment)
        if self.ready(latest) > moment:
            latest = self._spec.latest(due_at, latest - 1)
        window = self._window
        if window is not None and window.since < latest <= window.until:
            latest = self._spec.latest(due_at, max(due_at, window.since))
        return latest

    def skipped(self, reason: str, due_at: int, before: int | None) -> Iterator[Skipped]:
        """Those from the one at ``due_at`` on that are earlier than ``before``; with None there is none after it."""
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
"""After every moment."""


def _share(key: str) -> int:
    """The same for an instance forever, and evenly spread over instances; of 2^160."""
    return int.from_bytes(hashlib.sha1(key.encode(), usedforsecurity=False).digest(), "big")
