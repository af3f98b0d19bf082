"""An invented later version of Pyncette, which stores what it schedules in a format that this version can't read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pyncette.record import Change, Queue, QueueClaim, Record, Ref, Swap

from .network import Network

LATER = "later"
"""The prefix of such instances' names."""


class LaterNetwork(Network):
    """The storage as a process of the later version sees it: it reads and writes the later format."""

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return [record and _known(record) for record in await super().read(refs)]

    async def scan(self, queue: Queue, **options: Any) -> list[Record]:
        return [_known(record) for record in await super().scan(queue, **options)]

    async def scan_ready(self, queue: Queue, **options: Any) -> list[Record]:
        return [_known(record) for record in await super().scan_ready(queue, **options)]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([replace(change, new=change.new and _raised(change.new)) for change in changes])

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        claimed = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        return [_known(record) for record in claimed]


def _raised(record: Record) -> Record:
    return replace(record, spec=_in_format(record.spec, 2)) if f":{LATER}" in record.key else record


def _known(record: Record) -> Record:
    return replace(record, spec=_in_format(record.spec, 1)) if f":{LATER}" in record.key else record


@lru_cache(maxsize=256)
def _in_format(spec: str, version: int) -> str:
    return json.dumps({**json.loads(spec), "v": version})
