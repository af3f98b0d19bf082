"""How long to wait before another attempt."""

from __future__ import annotations

import random

_DOUBLINGS = 60


def pause(failures: int, *, first: float, longest: float, least: float = 0) -> float:
    """How long to wait before the next attempt. The bound doubles with each failure, and the pause is a random part of
    it, so that clients that failed together, for example in a deadlock, don't all retry together.

    :param failures: attempts that have failed in a row, 1 or more.
    :param first: the bound after the first failure. The pause is in the same unit.
    :param longest: the highest bound.
    :param least: the smallest part of the bound to wait: 0 spreads attempts most widely, 0.5 gives a server that is
        down time to recover.
    """
    bound = min(longest, first * 2.0 ** min(failures - 1, _DOUBLINGS))
    return bound * random.uniform(least, 1)  # noqa: S311 - for spreading attempts, not for security
