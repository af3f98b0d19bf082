"""The log of runs: items of the table at places of their own, ordered by time, and not in any index.

A line is written once its change is known to be applied. In DynamoDB, one write can depend on another only in a
transaction, which is all or nothing and costs twice as much. So a line is missing if the process ends, or the table
becomes unreachable, between the two.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyncette.record import LEAST, RunLine, RunQuestion

from .codec import Item, Layout, Value, text
from .connection import Database, together
from .statements import Statement, carry_out

logger: logging.Logger = logging.getLogger(__name__)

QUEUES = 25
"""The number of queues whose lines are requested concurrently."""

_FIELDS = {"#key": "key", "#outcome": "outcome", "#text": "text"}  # some are reserved words

Names = Callable[..., Awaitable[list[str]]]


class RunLog:
    """Lines in the table of the records.

    :param names: :meth:`~pyncette.repository.Repository.queues`.
    """

    def __init__(self, database: Database, layout: Layout, names: Names) -> None:
        self._database = database
        self._layout = layout
        self._names = names
        columns = ", ".join(f"'{name}': ?" for name in ("pk", "sk", "key", "outcome", "text"))
        self._insert = f'INSERT INTO "{database.table}" VALUE {{{columns}}}'
        self._delete = f'DELETE FROM "{database.table}" WHERE "pk"=? AND "sk"=?'  # noqa: S608 -- its name was checked

    async def append(self, lines: Sequence[RunLine]) -> None:
        """Write lines whose changes are applied. Existing lines stay unchanged; failures are logged."""
        statements = [self._inserting(line) for line in lines]
        outcomes = await carry_out(self._database, statements)
        if outcomes.error is not None:
            logger.warning("Lines of the log of runs were lost: %s", outcomes.error)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        """Reads some queues at a time. Once it has enough lines, it asks only for newer ones."""
        found: list[RunLine] = []
        if question.limit < 1 or question.outcomes == []:
            return found
        async for queues in self._pages(question.queues):
            if len(found) == question.limit:
                question = replace(question, since=max(question.since, found[-1].ended_at))
            asking = [
                partial(self._newest, queue, place, question)
                for queue in queues
                for place in self._layout.log_places(queue)
            ]
            found += [line for lines in await together(asking) for line in lines]
            found.sort(key=lambda line: (line.ended_at, line.id), reverse=True)
            del found[question.limit :]
        return found

    async def prune(self, before: int, limit: int) -> int:
        """Delete the oldest lines, some queues at a time. Returns the number of lines deleted."""
        deleted = 0
        async for queues in self._pages(None):
            if deleted >= limit:
                break
            places = [place for queue in queues for place in self._layout.log_places(queue)]
            old = await together(partial(self._oldest, place, before, limit - deleted) for place in places)
            keys = sorted((key for some in old for key in some), key=lambda key: str(key[1]["S"]))[: limit - deleted]
            outcomes = await carry_out(self._database, [Statement(self._delete, key) for key in keys])
            if outcomes.error is not None:
                raise outcomes.error
            deleted += len(keys)
        return deleted

    async def _pages(self, queues: Sequence[str] | None) -> AsyncIterator[Sequence[str]]:
        if queues is not None:
            names = sorted(set(queues))
            for start in range(0, len(names), QUEUES):
                yield names[start : start + QUEUES]
            return
        after = None
        while page := await self._names(after=after, limit=QUEUES):
            yield page
            after = page[-1]

    async def _newest(self, queue: str, place: str, question: RunQuestion) -> list[RunLine]:
        """The newest lines of a place. The line to start after may be found too, and is left out."""
        last = None if question.after is None else _sort_key(*question.after)
        end = _moment(question.before) if last is None else min(last, _moment(question.before))
        values = {":place": text(place), ":first": text(_moment(question.since)), ":last": text(end)}
        conditions = list(_conditions(question, values))
        asked: dict[str, Any] = {"ExpressionAttributeValues": values, "ScanIndexForward": False}
        if conditions:
            named = {name: field for name, field in _FIELDS.items() if any(name in each for each in conditions)}
            asked |= {"FilterExpression": " AND ".join(conditions), "ExpressionAttributeNames": named}
        else:
            asked["Limit"] = question.limit + 1
        found: list[RunLine] = []
        async for item in self._items(question.limit, asked, "sk BETWEEN :first AND :last"):
            if item["sk"]["S"] != last:
                found.append(_line(queue, item))
            if len(found) == question.limit:
                break
        return found

    async def _oldest(self, place: str, before: int, limit: int) -> list[tuple[Value, Value]]:
        asked = {
            "ExpressionAttributeValues": {":place": text(place), ":last": text(_moment(before))},
            "ProjectionExpression": "pk, sk",
            "Limit": limit,
        }
        return [(item["pk"], item["sk"]) async for item in self._items(limit, asked, "sk < :last")]

    async def _items(self, limit: int, asked: dict[str, Any], condition: str) -> AsyncIterator[Item]:
        start: dict[str, Any] = {}
        found = 0
        while found < limit:
            answer = await self._database.ask(
                "query",
                TableName=self._database.table,
                ConsistentRead=True,
                KeyConditionExpression=f"pk = :place AND {condition}",
                **asked,
                **start,
            )
            for item in answer["Items"]:
                yield item
            found += len(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _inserting(self, line: RunLine) -> Statement:
        place = text(self._layout.log_place(line.queue, line.key))
        values = (line.key, line.outcome, line.text)
        return Statement(self._insert, [place, text(_sort_key(line.ended_at, line.id)), *map(text, values)])


def _conditions(question: RunQuestion, values: dict[str, Value]) -> list[str]:
    """The conditions for a line. Their values are added to ``values``."""
    conditions: list[str] = []
    if question.key is not None:
        conditions.append("#key = :key")
        values[":key"] = text(question.key)
    if question.outcomes is not None:
        chosen = {f":outcome{place}": text(outcome) for place, outcome in enumerate(sorted(set(question.outcomes)))}
        conditions.append(f"#outcome IN ({', '.join(chosen)})")
        values |= chosen
    if question.containing:
        conditions.append("contains(#text, :text)")
        values[":text"] = text(question.containing)
    return conditions


def _moment(moment: int) -> str:
    """The prefix of the keys of lines of a moment: a fixed number of digits, so that they sort by time."""
    return f"{moment - LEAST:020}"


def _sort_key(ended_at: int, name: str) -> str:
    return f"{_moment(ended_at)}-{name}"


def _line(queue: str, item: Item) -> RunLine:
    moment, _, name = item["sk"]["S"].partition("-")
    fields = [item.get(field, {}).get("S", "") for field in ("key", "outcome", "text")]
    return RunLine(name, queue, fields[0], int(moment) + LEAST, fields[1], fields[2])
