"""The query of an idle poll as script calls, one per slot. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyncette.record import HELD, Queue, Ref

from . import batches, codec, scripts
from .keys import Keys
from .wire import Call, bulk, number


@dataclass(slots=True)
class Question:
    """The query to one slot.

    :ivar names: the names of dynamic queues.
    :ivar ready: their indexes by time.
    :ivar statics: the names of static tasks, in the slot that holds them.
    :ivar reads: records to read.
    """

    slot: int
    names: list[str] = field(default_factory=list)
    ready: list[bytes] = field(default_factory=list)
    statics: list[str] = field(default_factory=list)
    reads: list[batches.Batch] = field(default_factory=list)

    @property
    def positions(self) -> list[int]:
        """The index in the repository's call of each record to read, in the order of the reply."""
        return [position for batch in self.reads for position in batch.positions]

    def moments(self, reply: Sequence[bytes]) -> dict[str, list[int]]:
        """The moments in the reply, by queue."""
        names = [*self.names, *self.statics]
        found: dict[str, list[int]] = {}
        for place, moment in zip(reply[::2], reply[1::2], strict=True):
            found.setdefault(names[int(place) - 1], []).append(int(moment))
        return found

    def call(self, keys: Keys, after: int | None, until: int, limit: int) -> Call:
        asked = [*self.ready, *([keys.static.ready] if self.statics else [])]
        arguments = [
            bulk(b"-inf" if after is None else b"(" + codec.score(after)),
            bulk("\0".join(self.statics).encode()),
            number(HELD),
            number(len(self.ready)),
            bulk(codec.score_until(until)),
            number(limit),
        ]
        for batch in self.reads:
            more_keys, more_arguments = batch.asked()
            asked += more_keys
            arguments += more_arguments
        return Call(scripts.LOOK, self.slot, asked, arguments, len(arguments))


def by_slot(keys: Keys, queues: Sequence[Queue]) -> dict[int, Question]:
    """The part of the queries that concerns queues, by slot."""
    slots: dict[int, Question] = {}

    def at(slot: int) -> Question:
        return slots.setdefault(slot, Question(slot))

    for queue in queues:
        if queue.static:
            at(keys.static.slot).statics.append(queue.name)
        else:
            named = keys.dynamic(queue.name)
            question = at(named.slot)
            question.names.append(queue.name)
            question.ready.append(named.ready)
    return slots


def questions(keys: Keys, about: Mapping[int, Question], refs: Sequence[Ref]) -> list[Question]:
    """One query per slot concerned; if there is none, one that asks only for the time.

    :param about: the result of :func:`by_slot`, which is not modified.
    """
    slots = {slot: replace(question, reads=[]) for slot, question in about.items()}
    for batch in batches.reads(keys, refs):
        slots.setdefault(batch.slot, Question(batch.slot)).reads.append(batch)
    return list(slots.values()) or [Question(keys.static.slot)]
