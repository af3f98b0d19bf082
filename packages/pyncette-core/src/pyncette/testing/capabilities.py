"""What a store can do, as far as the contract suite has to know it."""

from __future__ import annotations

from dataclasses import dataclass

from pyncette._validation.parameters import corrects_keywords


@corrects_keywords()
@dataclass(frozen=True, slots=True)
class Capabilities:
    """Says what to expect of a store. Nothing here excuses a store from a method of the interface.

    :ivar shared: repositories from several calls of the factory see the same data.
    :ivar persistent: data outlives the closing of every repository.
    :ivar server_clock: ``clock()`` gives the server's time; otherwise it must return None.
    :ivar immediate_index: ``scan_ready``, ``claim``, ``count`` and ``look`` see every acknowledged write at once.
        Otherwise the suite asks them again until they do, for at most ``index_lag``.
    :ivar index_lag: seconds after which the index has caught up; used only without ``immediate_index``.
    :ivar keeps_runs: the store has a log of runs.
    :ivar one_writer: a transaction that has written keeps all others from writing, as in SQLite. Used by the part about
        transactions of callers only.
    :ivar max_spec_bytes: the longest ``spec`` that the store is sure to take, in bytes of UTF-8, if it is less than
        1 MiB. One that is twice as long must be refused with
        :class:`~pyncette.errors.RecordRefusedException`. None: specs of 1 MiB must work.
    """

    shared: bool = True
    persistent: bool = True
    server_clock: bool = False
    immediate_index: bool = True
    index_lag: float = 10.0
    keeps_runs: bool = False
    one_writer: bool = False
    max_spec_bytes: int | None = None
