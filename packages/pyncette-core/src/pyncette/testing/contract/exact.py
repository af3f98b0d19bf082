"""Text comes back to the byte, whatever it looks like; what is refused is refused again and again."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, Queue
from pyncette.repository import Repository

from .base import APPLIED, NOW, TASK, ContractBase, all_of, applied, assert_same, fresh, insert, record, stored, want
from .keeping import MIB

TEXTS = (
    '{"n":123456789012345678901234567890,"m":-9007199254740993}',
    '{"x":1e400,"y":1.0,"z":-0,"w":0.10,"v":1E5}',
    '{"b":1,"a":2,"a":3}',
    '{ "a" :\t1 ,\r\n"b":[ ] }\n',
    r'{"e":"\u00e9\/\ud83d\ude00\u0000\b\f\n\\"}',
    '"\u00e9 e\u0301 \ufb01 \u212b \U0001f600 \u2028\u2029"',
    "\ufeff{}",
    "\x01\x02\x1a\x1b\x7f\x80\x9f",
    "\r\n\r \n\t ",
    "   ",
    "null",
    "0",
    "1234567890123456789012",
    "true",
    "''\"\"``\\'%s%(a)s{0}$1:name?--;/*",
    "0x00ff",
    "2026-01-01T00:00:00Z",
)
"""Texts that a JSON column, a driver's conversion or manual quoting would change."""

HOLDERS = (
    "a" * 100 + ":0123456789abcdef",
    "\u00e9" * 50 + ":0123456789abcdef",
    "\U0001f600" * 25 + ":0123456789abcdef",
    "\u3042\u0301 '\"`\\%_:;\n\t ",
    " ",
    "Z" * 64,
    "host.example.com:1:0123456789ABCDEF",
)
"""Core sends the worker's name, up to 100 bytes of UTF-8 of any kind, a colon and the token of the claim."""


class ExactContract(ContractBase):
    async def test_text_comes_back_to_the_byte(self, repository: Repository) -> None:
        """``spec`` and ``state`` are text, whatever they look like: inserted and updated, read and claimed."""
        records = [record(name=f"{n:02}", spec=text, state=text[::-1]) for n, text in enumerate(TEXTS)]
        await insert(repository, records)
        assert_same(await stored(repository, records), records)
        others = records[1:] + records[:1]
        turned = [
            replace(one, revision=fresh(), spec=other.spec, state=other.state)
            for one, other in zip(records, others, strict=True)
        ]
        assert applied(await repository.swap([Change(*pair) for pair in zip(records, turned, strict=True)]))
        assert_same(await stored(repository, turned), turned)
        taken = await self.take(repository, want(TASK), expect=len(turned))
        texts = {one.key: (one.spec, one.state) for one in taken}
        assert texts == {one.key: (one.spec, one.state) for one in turned}

    async def test_a_large_text_by_update(self, repository: Repository) -> None:
        """An update may write a spec as large as an insert may; then a state of 150 KB, and back again."""
        size = min(self.capabilities.max_spec_bytes or MIB, MIB)
        small = record(spec="small")
        await insert(repository, [small])
        large = replace(small, revision=fresh(), spec="\u00e9\\\n" * (size // 5) + "x" * (size % 5))
        assert await repository.swap([Change(small, large)]) == [APPLIED]
        assert_same(await repository.read([small.ref]), [large])
        noted = replace(small, revision=fresh(), state="\u00e9 " * min(size // 3, 50_000))
        assert await repository.swap([Change(large, noted)]) == [APPLIED]
        assert_same((await repository.look([TASK], [small.ref])).records, [noted])
        assert await repository.swap([Change(noted, replace(small, revision=fresh()))]) == [APPLIED]

    async def test_holders_of_any_kind(self, repository: Repository) -> None:
        """``locked_by`` is any text that core may send, up to 117 bytes, in claims and in swaps."""
        for number, holder in enumerate(HOLDERS):
            one = record(f"held{number}", locked_until=NOW - 1, locked_by=holder)
            await insert(repository, [one])
            assert await repository.read([one.ref]) == [one]
            queue = Queue(one.queue)
            (taken,) = await self.take(repository, want(queue), expect=1, holder=holder[::-1])
            assert taken.locked_by == holder[::-1]

    async def test_refusals_again_and_again(self, repository: Repository) -> None:
        """30 refusals at once, each with another change in its batch, cost no connection; the other change is stored
        completely, or not at all.
        """
        limit = self.capabilities.max_spec_bytes
        if limit is None:
            self.leaves_out("refusals: the store takes specs of 1 MiB (max_spec_bytes)")
            return
        others = [record(name=f"other{n:02}") for n in range(30)]
        large = "x" * 2 * limit

        async def refuse(number: int) -> None:
            batch = [Change(None, others[number]), Change(None, record(name=f"large{number}", spec=large))]
            with pytest.raises(RecordRefusedException, match=r"\d"):
                await repository.swap(batch)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(refuse, number)
        found = await stored(repository, others)
        assert all(one in (None, other) for one, other in zip(found, others, strict=True))
        left = [one for one in found if one]
        assert sorted(await all_of(repository, TASK), key=lambda one: one.key) == left
        assert await repository.swap([Change(one, None) for one in left]) == [APPLIED] * len(left)
