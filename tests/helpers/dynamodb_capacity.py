"""Reads what requests cost from DynamoDB's own ``ReturnConsumedCapacity``.

DynamoDB Local leaves it out for batches of statements, so each statement is sent as the equivalent classic request,
which costs the same: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .dynamodb import Answer, Body, Request, Wire

LEAST_READ = 0.5
"""What AWS charges for a query with an empty result. DynamoDB Local reports 0."""

_FAILURES = {"ConditionalCheckFailedException": "ConditionalCheckFailed"}
_UPDATE = re.compile(r'UPDATE "(?P<table>[^"]+)" (?P<set>.*) WHERE (?P<where>[^R]*)(?: RETURNING (?P<returns>.*) \*)?')
_DELETE = re.compile(r'DELETE FROM "(?P<table>[^"]+)" WHERE (?P<where>[^R]*)(?: RETURNING (?P<returns>.*) \*)?')
_INSERT = re.compile(r'INSERT INTO "(?P<table>[^"]+)" VALUE (?P<item>.*)')
_NAME = re.compile(r"""["']([a-z_]+)["']""")


@dataclass
class Cost:
    """Request units."""

    table_writes: float = 0
    index_writes: float = 0
    reads: float = 0

    @property
    def writes(self) -> float:
        return self.table_writes + self.index_writes


class Meter:
    """A script for :class:`Wire` that adds up the cost of all requests."""

    def __init__(self, proxy: Wire) -> None:
        self._proxy = proxy
        self._cost = Cost()
        proxy.script = self._script

    def read(self) -> Cost:
        """The cost since the last call."""
        cost, self._cost = self._cost, Cost()
        return cost

    def _script(self, request: Request) -> Answer | None:
        if request.operation == "BatchExecuteStatement":
            return Answer({"Responses": [self._carry_out(one) for one in request.statements]})
        if request.operation in {"Query", "BatchGetItem"}:
            answer = request.forward(self._proxy.server, ReturnConsumedCapacity="INDEXES")
            spent = answer.body["ConsumedCapacity"]
            for one in spent if isinstance(spent, list) else [spent]:
                self._cost.reads += max(one["CapacityUnits"], LEAST_READ)
            return answer
        return None

    def _carry_out(self, statement: Body) -> Body:
        request = classic(statement["Statement"], statement["Parameters"])
        answer = request.forward(self._proxy.server, ReturnConsumedCapacity="INDEXES")
        if answer.status != 200:
            code = answer.body["__type"].rpartition("#")[2]
            self._cost.table_writes += 1  # a condition that fails costs what the table's write would have cost
            inserted = request.operation == "PutItem"
            return {"Error": {"Code": "DuplicateItem" if inserted else _FAILURES[code], "Message": "injected"}}
        spent = answer.body["ConsumedCapacity"]
        self._cost.table_writes += spent["Table"]["CapacityUnits"]
        for index in spent.get("GlobalSecondaryIndexes", {}).values():
            self._cost.index_writes += index["CapacityUnits"]
        attributes = answer.body.get("Attributes")
        return {"Item": attributes} if attributes else {}


def classic(statement: str, parameters: list[Body]) -> Request:
    """The classic request that is equivalent to a statement."""
    if found := _INSERT.fullmatch(statement):
        item = dict(zip(_NAME.findall(found["item"]), parameters, strict=True))
        condition = {"ConditionExpression": "attribute_not_exists(pk)"}
        return Request("PutItem", {"TableName": found["table"], "Item": item, **condition})
    found = _UPDATE.fullmatch(statement) or _DELETE.fullmatch(statement)
    if found is None:
        raise ValueError(statement)
    names = [*_NAME.findall(found.groupdict().get("set") or ""), *_NAME.findall(found["where"])]
    *changed, pk, sk, revision = zip(names, parameters, strict=True)
    values: dict[str, Any] = {":known": revision[1]} | {f":{name}": value for name, value in changed}
    body: dict[str, Any] = {
        "TableName": found["table"],
        "Key": dict([pk, sk]),
        "ConditionExpression": "revision = :known",
        "ExpressionAttributeValues": values,
        "ReturnValues": (found["returns"] or "NONE").replace(" ", "_"),
    }
    if not changed:
        return Request("DeleteItem", body)
    # Classic expressions have reserved words, such as "state".
    body["ExpressionAttributeNames"] = {f"#{name}": name for name, _ in changed}
    return Request("UpdateItem", {**body, "UpdateExpression": "SET " + ", ".join(f"#{n} = :{n}" for n, _ in changed)})
