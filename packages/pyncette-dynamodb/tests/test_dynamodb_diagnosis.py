"""What the diagnosis of a table finds. A proxy simulates faults that only AWS can have."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate

import pytest

from pyncette.findings import Finding
from pyncette.repository import Repository
from tests.helpers.dynamodb import Answer, Request, Wire, call
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio


async def bad(repository: Repository) -> dict[str, Finding]:
    """The findings that are not OK, by the name of the check."""
    return {each.check: each for each in await repository.diagnose() if each.verdict != "ok"}


async def test_a_healthy_table(direct: Factory) -> None:
    async with direct() as repository:
        found = {each.check: each for each in await repository.diagnose()}
    assert {each.verdict for each in found.values()} == {"ok"}, found
    assert found.keys() == {"clock", "table", "indexes", "capacity", "time to live", "format"}


async def test_a_time_to_live(direct: Factory, dynamodb_server: Server, table_name: str) -> None:
    async with direct() as repository:
        specification = {"Enabled": True, "AttributeName": "ready_at"}
        call(dynamodb_server.endpoint, "UpdateTimeToLive", TableName=table_name, TimeToLiveSpecification=specification)
        found = await bad(repository)
    assert found.keys() == {"time to live"}
    assert (found["time to live"].verdict, "'ready_at'" in found["time to live"].found) == ("problem", True)


async def test_a_missing_permission_is_reported_as_unknown(watched: Factory, proxy: Wire) -> None:
    def denied(request: Request) -> Answer | None:
        return Answer.error("AccessDeniedException") if request.operation == "DescribeTimeToLive" else None

    async with watched() as repository:
        proxy.script = denied
        found = await bad(repository)
    assert found.keys() == {"time to live"}
    assert (found["time to live"].verdict, found["time to live"].advice) == (
        "unknown",
        "allow dynamodb:DescribeTimeToLive",
    )


async def test_a_global_table_whose_index_is_being_created(watched: Factory, proxy: Wire) -> None:
    def changed(request: Request) -> Answer | None:
        if request.operation != "DescribeTable":
            return None
        answer = request.forward(proxy.server)
        table = answer.body["Table"]
        table["GlobalSecondaryIndexes"][0]["IndexStatus"] = "CREATING"
        table["Replicas"] = [{"RegionName": "us-east-1"}]
        return answer

    async with watched() as repository:
        proxy.script = changed
        found = await bad(repository)
    assert {check: each.verdict for check, each in found.items()} == {"indexes": "problem", "replicas": "warning"}


async def test_a_clock_that_is_wrong(watched: Factory, proxy: Wire) -> None:
    def late(request: Request) -> Answer | None:
        answer = request.forward(proxy.server)
        return Answer(answer.body, answer.status, formatdate(time.time() - 60, usegmt=True))

    async with watched() as repository:
        proxy.script = late
        found = (await bad(repository))["clock"]
        proxy.script = None
    assert found.verdict == "problem"
    assert "ahead of" in found.found
