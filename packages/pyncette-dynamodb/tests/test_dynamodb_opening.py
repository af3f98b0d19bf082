"""Opening the storage: the table is created or recognized, or the error says what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from typing import Any

import pytest

from pyncette.dynamodb import dynamodb_repository, schema, table_definition
from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.record import Change, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import next_ready
from tests.helpers.dynamodb import (
    REGION,
    SECRET,
    Answer,
    Body,
    Request,
    Script,
    Wire,
    call,
    fresh,
    record,
    repository_of,
)
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_LOOK_AGAIN", 0.05)


async def error_of(opening: AbstractAsyncContextManager[Repository]) -> RepositoryException:
    """The error of opening. Checks that its text fits on a screen and contains no secrets."""
    with pytest.raises(RepositoryException) as caught:
        async with opening:
            pass
    text = str(caught.value)
    assert len(text) < 500
    assert SECRET not in text
    return caught.value


async def works(factory: Factory) -> None:
    one = record(fresh())
    async with factory() as repository:
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        assert await repository.read([one.ref]) == [one]


class TestMaking:
    async def test_the_table_matches_its_definition(
        self, direct: Factory, dynamodb_server: Server, table_name: str
    ) -> None:
        """An existing table is not changed."""
        await works(direct)
        first = call(dynamodb_server.endpoint, "DescribeTable", TableName=table_name)["Table"]
        definition = table_definition(table_name)
        assert definition["BillingMode"] == first["BillingModeSummary"]["BillingMode"]
        assert {name: first[name] for name in ("KeySchema", "AttributeDefinitions")} == {
            name: definition[name] for name in ("KeySchema", "AttributeDefinitions")
        }
        (index,) = first["GlobalSecondaryIndexes"]
        assert {name: index[name] for name in definition["GlobalSecondaryIndexes"][0]} == (
            definition["GlobalSecondaryIndexes"][0]
        )
        assert "LocalSecondaryIndexes" not in first, "would limit what shares a place to 10 GB"
        await works(direct)
        assert (
            call(dynamodb_server.endpoint, "DescribeTable", TableName=table_name)["Table"]["KeySchema"]
            == (first["KeySchema"])
        )

    async def test_it_takes_a_while(self, watched: Factory, proxy: Wire) -> None:
        """As in AWS, it is neither visible nor usable at once."""
        looks = 0

        def slowly(request: Request) -> Answer | None:
            nonlocal looks
            if request.operation != "DescribeTable":
                return None
            looks += 1
            if looks <= 3:
                return Answer.error("ResourceNotFoundException")
            answer = request.forward(proxy.server)
            table = answer.body["Table"]
            table["TableStatus"] = "CREATING" if looks <= 5 else "ACTIVE"
            table["GlobalSecondaryIndexes"][0]["IndexStatus"] = "CREATING" if looks <= 7 else "ACTIVE"
            return answer

        proxy.script = slowly
        await works(watched)
        counts = proxy.count()
        assert (counts["DescribeTable"], counts["CreateTable"]) == (8, 1)

    async def test_it_takes_too_long(
        self, watched: Factory, proxy: Wire, monkeypatch: pytest.MonkeyPatch, direct: Factory
    ) -> None:
        await works(direct)
        monkeypatch.setattr(schema, "CREATION_TIMEOUT", 0.2)
        proxy.script = shows({"TableStatus": "CREATING"}, proxy)
        error = await error_of(watched())
        assert isinstance(error, RepositoryUnavailableException)
        assert "not ready" in str(error)

    async def test_another_process_has_just_created_it(self, watched: Factory, proxy: Wire, direct: Factory) -> None:
        await works(direct)
        answers: Iterator[Answer | None] = iter([Answer.error("ResourceNotFoundException")])
        proxy.script = lambda request: next(answers, None)
        await works(watched)

    async def test_no_permission_to_create_it(self, watched: Factory, proxy: Wire) -> None:
        proxy.script = refuses("CreateTable", "AccessDeniedException")
        assert "dynamodb:CreateTable" in str(await error_of(watched()))

    async def test_skipped_creation_needs_the_definition(
        self, direct: Factory, table_name: str, dynamodb_server: Server
    ) -> None:
        error = await error_of(direct(dynamodb_skip_table_create=True))
        assert f"table_definition('{table_name}')" in str(error)
        call(dynamodb_server.endpoint, "CreateTable", **table_definition(table_name))
        await works(lambda: direct(dynamodb_skip_table_create=True))


def refuses(operation: str, code: str, message: str = "injected", status: int = 400) -> Script:
    return lambda request: Answer.error(code, message, status) if request.operation == operation else None


def shows(changes: Body, proxy: Wire) -> Script:
    """Answers with a description of the table that has these changes."""

    def describe(request: Request) -> Answer | None:
        if request.operation != "DescribeTable":
            return None
        answer = request.forward(proxy.server)
        answer.body["Table"].update(changes)
        return answer

    return describe


OF_1_1_0: Body = {
    "KeySchema": [
        {"AttributeName": "partition_id", "KeyType": "HASH"},
        {"AttributeName": "task_id", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": n, "AttributeType": "S"} for n in ("partition_id", "task_id", "ready_at")
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "ready_at",
            "KeySchema": [
                {"AttributeName": "partition_id", "KeyType": "HASH"},
                {"AttributeName": "ready_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}
SIMPLE: Body = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
}


def with_index(**changes: Any) -> Body:
    definition = table_definition()
    index = definition["GlobalSecondaryIndexes"][0]
    return {**definition, "GlobalSecondaryIndexes": [{**index, **changes}]}


class TestRecognising:
    @pytest.mark.parametrize(
        "definition, says",
        [
            (OF_1_1_0, "written by Pyncette 1.x"),
            (with_index(IndexName="pyncette-ready-2"), "schema version 2.*Upgrade"),
            (SIMPLE, "not a table of Pyncette"),
            (with_index(IndexName="by-time"), "not a table of Pyncette"),
            (with_index(Projection={"ProjectionType": "KEYS_ONLY"}), "not a table of Pyncette"),
            (
                with_index(
                    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
                )
                | {"AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")]},
                "not a table of Pyncette",
            ),
            (
                table_definition()
                | {
                    "AttributeDefinitions": [
                        {"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "ready_at")
                    ]
                },
                "not a table of Pyncette",
            ),
        ],
    )
    @pytest.mark.parametrize("skip", [False, True])
    async def test_another_table_is_refused_and_left_alone(
        self, direct: Factory, table_name: str, dynamodb_server: Server, definition: Body, says: str, skip: bool
    ) -> None:
        endpoint = dynamodb_server.endpoint
        call(endpoint, "CreateTable", **{"BillingMode": "PAY_PER_REQUEST", **definition, "TableName": table_name})
        before = call(endpoint, "DescribeTable", TableName=table_name)
        error = await error_of(direct(dynamodb_skip_table_create=skip))
        assert isinstance(error, StorageVersionException)
        with pytest.raises(StorageVersionException, match=says):
            raise error
        assert "dynamodb_table_name" in str(error)
        assert call(endpoint, "DescribeTable", TableName=table_name) == before

    @pytest.mark.parametrize(
        "definition",
        [
            with_index(Projection={"ProjectionType": "ALL"}),
            table_definition()
            | {
                "BillingMode": "PROVISIONED",
                "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
            },
        ],
    )
    async def test_a_table_with_more_attributes_is_accepted(
        self, direct: Factory, table_name: str, dynamodb_server: Server, definition: Body
    ) -> None:
        capacity = definition.get("ProvisionedThroughput")
        if capacity:
            (index,) = definition["GlobalSecondaryIndexes"]
            definition = {**definition, "GlobalSecondaryIndexes": [{**index, "ProvisionedThroughput": capacity}]}
        call(dynamodb_server.endpoint, "CreateTable", **{**definition, "TableName": table_name})
        await works(direct)

    async def test_a_newer_version_that_still_has_our_index(
        self, direct: Factory, table_name: str, dynamodb_server: Server
    ) -> None:
        definition = table_definition(table_name)
        (index,) = definition["GlobalSecondaryIndexes"]
        both = [index, {**index, "IndexName": "pyncette-ready-2"}]
        call(dynamodb_server.endpoint, "CreateTable", **{**definition, "GlobalSecondaryIndexes": both})
        await works(direct)

    @pytest.mark.parametrize("status, says", [("DELETING", "being deleted"), ("ARCHIVED", "ARCHIVED")])
    async def test_a_table_that_can_not_be_used(
        self, watched: Factory, direct: Factory, proxy: Wire, status: str, says: str
    ) -> None:
        await works(direct)
        proxy.script = shows({"TableStatus": status}, proxy)
        assert says in str(await error_of(watched()))

    async def test_a_table_that_is_being_changed(self, watched: Factory, direct: Factory, proxy: Wire) -> None:
        """It can be used while it changes, for example its capacity."""
        await works(direct)
        proxy.script = shows({"TableStatus": "UPDATING"}, proxy)
        await works(watched)


class TestAccess:
    async def test_no_credentials(self, direct: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        error = await error_of(direct())
        assert "AWS_ACCESS_KEY_ID" in str(error)
        assert not isinstance(error, RepositoryUnavailableException)

    async def test_half_of_the_credentials(self, direct: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "AWS_SECRET_ACCESS_KEY" in str(await error_of(direct()))

    async def test_an_unknown_profile(self, direct: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        assert "nobody" in str(await error_of(direct()))

    async def test_no_region(self, dynamodb_server: Server) -> None:
        error = await error_of(dynamodb_repository(dynamodb_endpoint=dynamodb_server.endpoint))
        assert "dynamodb_region_name" in str(error)

    async def test_the_region_of_the_environment(
        self, dynamodb_server: Server, table_name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        await works(
            lambda: dynamodb_repository(dynamodb_endpoint=dynamodb_server.endpoint, dynamodb_table_name=table_name)
        )

    async def test_nobody_at_the_endpoint(self) -> None:
        error = await error_of(repository_of("http://127.0.0.1:9", "tasks")())
        assert isinstance(error, RepositoryUnavailableException)
        assert "dynamodb_endpoint" in str(error)
        assert error.__cause__ is not None

    @pytest.mark.parametrize(
        "code, says, unavailable",
        [
            ("UnrecognizedClientException", "AWS_ACCESS_KEY_ID", False),
            ("InvalidSignatureException", "secret access key is wrong, or this machine", False),
            ("MissingAuthenticationTokenException", "AWS_ACCESS_KEY_ID", False),
            ("AccessDeniedException", "policy", False),
            ("ExpiredTokenException", "expired, renew", True),
            ("ValidationException", "ValidationException: injected|Validation: injected", False),
            ("ThrottlingException", "capacity", True),
        ],
    )
    async def test_errors_of_dynamodb(
        self, watched: Factory, proxy: Wire, code: str, says: str, unavailable: bool
    ) -> None:
        proxy.script = refuses("DescribeTable", code)
        error = await error_of(watched())
        assert isinstance(error, RepositoryUnavailableException) == unavailable
        with pytest.raises(RepositoryException, match=says):
            raise error
        assert error.__cause__ is not None

    async def test_dynamodb_fails(self, watched: Factory, proxy: Wire) -> None:
        proxy.script = refuses("DescribeTable", "InternalServerError", status=500)
        assert isinstance(await error_of(watched()), RepositoryUnavailableException)


class TestClock:
    @pytest.mark.parametrize("seconds, says", [(-8, "ahead of"), (8, "behind"), (4000, "behind")])
    async def test_a_clock_that_is_wrong(self, watched: Factory, proxy: Wire, seconds: float, says: str) -> None:
        proxy.script = ahead(proxy, seconds)
        error = await error_of(watched())
        assert f"{says} that of DynamoDB; at most 5 s" in str(error)
        assert proxy.count() == {"DescribeTable": 1}, "the table is not made"

    @pytest.mark.parametrize("seconds", [-4, 0, 4])
    async def test_a_clock_that_is_slightly_off(self, watched: Factory, proxy: Wire, seconds: float) -> None:
        proxy.script = ahead(proxy, seconds)
        await works(watched)

    async def test_a_clock_that_goes_wrong_later(self, watched: Factory, proxy: Wire) -> None:
        """Core checks every 30 seconds. While the clock is wrong, nothing is claimed."""
        async with watched() as repository:
            assert await repository.clock() is None
            proxy.script = ahead(proxy, 60)
            await next_ready(repository, [])
            assert await repository.clock() is None, "nothing was sent, so nobody knows"
            await repository.read([record("a").ref])
            with pytest.raises(RepositoryException, match="behind that of DynamoDB"):
                await repository.clock()
            proxy.script = None
            await repository.read([record("a").ref])
            assert await repository.clock() is None

    async def test_a_clock_so_wrong_that_signatures_fail(self, watched: Factory, proxy: Wire) -> None:
        def script(request: Request) -> Answer:
            answer = Answer.error("InvalidSignatureException", "Signature expired")
            return Answer(answer.body, answer.status, formatdate(time.time() + 4000, usegmt=True))

        proxy.script = script
        assert re.search(r"at least (3999|4000) s behind", str(await error_of(watched())))

    async def test_answers_without_a_date(self, watched: Factory, proxy: Wire) -> None:
        """Other servers with DynamoDB's protocol may omit the header."""
        proxy.script = lambda request: Answer(*_of(request.forward(proxy.server)), date="none")
        await works(watched)


def _of(answer: Answer) -> tuple[Body, int]:
    return answer.body, answer.status


def ahead(proxy: Wire, seconds: float) -> Script:
    """Answers like a server whose clock is this many seconds ahead."""

    def script(request: Request) -> Answer:
        body, status = _of(request.forward(proxy.server))
        return Answer(body, status, formatdate(time.time() + seconds, usegmt=True))

    return script
