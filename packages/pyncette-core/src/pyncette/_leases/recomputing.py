"""The write that moves a next occurrence back onto its schedule."""

from __future__ import annotations

from pyncette._lifecycle.recomputing import recompute
from pyncette._tasks.policies import Policies
from pyncette.record import Change, Record

from .revisions import new_revision
from .writes import Awaited


class Recompute(Awaited):
    """Move a next occurrence if the rules of its timezone have changed.

    :ivar moved: whether it was moved.
    """

    def __init__(self, record: Record, policies: Policies) -> None:
        super().__init__(record.ref, record)
        self._policies = policies
        self.moved: bool = False

    def decide(self, now: int) -> Change | None:
        return None if self.known is None else recompute(self.known, self._policies, now=now, revision=new_revision())

    def stored(self, new: Record | None) -> None:
        super().stored(new)
        self.moved = True
