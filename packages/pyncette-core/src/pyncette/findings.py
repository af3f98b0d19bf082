"""What a storage's self-check finds, in words: each backend checks the requirements in its documentation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .migrations import Format, Migration, Phase, newest

Verdict = Literal["ok", "warning", "problem", "unknown"]

FULL = 0.8
"""The used fraction of a limit above which a warning says that little is left."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    :ivar check: its name, a word or two; several findings may share one.
    :ivar verdict: ``"ok"``; ``"warning"``: it works, but something should be done; ``"problem"``: something is lost or
        stuck, or soon will be; ``"unknown"``: it could not be checked.
    :ivar found: a phrase for people; never a password.
    :ivar advice: what to do, an imperative phrase; empty if there is nothing to do.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def format_found(stored: Format, migrations: Sequence[Migration[Any]]) -> Finding:
    """The finding about a store's format, once this release works with it.

    :param migrations: all steps that this release knows.
    """
    known = newest(migrations)
    if stored.written_by > known:
        return Finding(
            "format",
            "warning",
            f"a newer release has expanded it to format {stored.written_by}; this one knows {known}",
            "end the deploy of the newer release, or go back everywhere",
        )
    left = [each for each in migrations if each.phase is Phase.CONTRACT and each.version > stored.readable_from]
    if left:
        return Finding(
            "format",
            "warning",
            f"format {stored.written_by}, and still readable from format {stored.readable_from}",
            "when no process of the older release is left, end the upgrade: finish_upgrade=True",
        )
    return Finding("format", "ok", f"format {stored.written_by}, as this release writes it")


def share_found(check: str, used: float, limit: float, found: str, advice: str) -> Finding:
    """A warning if more than :data:`FULL` of something is used.

    :param limit: how much there is at most; 0 if there is no limit.
    :param found: says how much is used.
    """
    if limit and used > FULL * limit:
        return Finding(check, "warning", found, advice)
    return Finding(check, "ok", found)
