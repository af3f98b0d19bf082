"""What tests of the DynamoDB storage share: tables of their own, bare requests, and a look at the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from pyncette import lease
from pyncette.dynamodb import dynamodb_repository
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import take

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
REGION = "eu-west-1"
SECRET = "not-to-be-shown"
TASK = Queue("task")

Body = dict[str, Any]


def fresh() -> str:
    return uuid.uuid4().hex


def record(name: str, *, queue: str = "task", ready_at: int = NOW, spec: str = "{}") -> Record:
    """A record that nobody holds; of a static task if the queue is the name."""
    key = name if name == queue else f"{queue}:{name}"
    return Record(queue, key, ready_at, ready_at, None, None, fresh(), 0, 0, spec)


def numbered(count: int, queue: str = "task") -> list[Record]:
    """Records that became ready one after the other, the last one now."""
    return [record(f"{n:05}", queue=queue, ready_at=NOW - count + n + 1) for n in range(count)]


def want(*queues: Queue, limit: int = 100) -> list[QueueClaim]:
    return [QueueClaim(queue, limit, NOW + MINUTE) for queue in queues]


def inserts(records: list[Record]) -> list[Change]:
    return [Change(None, one) for one in records]


async def introduce(repository: Repository) -> None:
    """Let the repository know the queue ``task``, which it registers with the first record that it stores there."""
    one = record("first")
    assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
    assert await repository.swap([Change(one, None)]) == [Swap.APPLIED]


def settlements(records: list[Record]) -> list[Change]:
    """Changes that end half of the records and reschedule the others."""
    return [
        lease.complete(one, next_due=NOW + MINUTE if number % 2 else None, revision=fresh())
        for number, one in enumerate(records)
    ]


async def claim(repository: Repository, limit: int = 100) -> list[Record]:
    token = fresh()
    return await take(repository, want(TASK, limit=limit), now=NOW, limit=limit, token=token, holder=token)


def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials that DynamoDB Local accepts, and hide the machine's own configuration."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


def repository_of(endpoint: str, table: str, **options: Any) -> Any:
    """A factory of clients of one table."""
    return partial(
        dynamodb_repository,
        dynamodb_endpoint=endpoint,
        dynamodb_region_name=REGION,
        dynamodb_table_name=table,
        **options,
    )


@contextlib.contextmanager
def table(endpoint: str) -> Iterator[str]:
    """An unused table name. The table is dropped in the end."""
    name = f"test_{fresh()}"
    yield name
    with contextlib.suppress(Refused):
        call(endpoint, "DeleteTable", TableName=name)


class Refused(Exception):
    """DynamoDB answered with an error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server, or one in its place."""

    body: Body
    status: int = 200
    date: str | None = None

    @classmethod
    def error(cls, code: str, message: str = "injected", status: int = 400) -> Answer:
        return cls({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}, status)


def call(endpoint: str, operation: str, **parameters: Any) -> Body:
    """Send a request without an event loop or a client library.

    :raises Refused: the server's answer is an error.
    """
    parts = urlsplit(endpoint)
    answer = _forward(http.client.HTTPConnection(parts.hostname or "", parts.port), operation, parameters)
    if answer.status >= http.client.BAD_REQUEST:
        raise Refused(answer.body)
    return answer.body


def _forward(connection: http.client.HTTPConnection, operation: str, body: Body) -> Answer:
    with contextlib.closing(connection):
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=test",
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        }
        connection.request("POST", "/", json.dumps(body), headers)
        reply = connection.getresponse()
        return Answer(json.loads(reply.read()), reply.status, reply.headers["Date"])


class Cut(Exception):
    """Raised to cut the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the proxy."""

    operation: str
    body: Body

    def forward(self, endpoint: str, **changed: Any) -> Answer:
        """Forward the request to the real server, and return its answer."""
        parts = urlsplit(endpoint)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        return _forward(connection, self.operation, {**self.body, **changed})

    @property
    def statements(self) -> list[Body]:
        """The statements of a batch."""
        found: list[Body] = self.body["Statements"]
        return found


Script = Callable[[Request], Answer | None]
"""Returns the answer to send instead of the server's; None for the server's own. It may raise :class:`Cut`."""


@dataclass
class Wire:
    """A proxy in front of DynamoDB Local that counts requests, and answers some of them itself.

    :ivar server: the real server.
    :ivar endpoint: the address of the proxy.
    :ivar script: called for each request; None to forward them all.
    """

    server: str
    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    script: Script | None = None

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        script = self.script
        scripted = script(request) if script else None
        return request.forward(self.server) if scripted is None else scripted

    def count(self) -> dict[str, int]:
        """The number of requests by kind since the last call."""
        counts = Counter(request.operation for request in self.requests)
        self.requests.clear()
        return dict(counts)


def for_writes(script: Script) -> Script:
    return lambda request: script(request) if request.operation == "BatchExecuteStatement" else None


def failing(proxy: Wire, codes: Iterator[str | None], *, executed: bool = False) -> Script:
    """Replaces the outcome of one statement after another by an error; None leaves it as it is.

    :param executed: whether the statement is executed nevertheless.
    """

    def script(request: Request) -> Answer:
        chosen = [next(codes) for _ in request.statements]
        sent = [one for one, code in zip(request.statements, chosen, strict=True) if executed or code is None]
        answers = iter(request.forward(proxy.server, Statements=sent).body["Responses"]) if sent else iter(())
        responses: list[Body] = []
        for code in chosen:
            real = next(answers) if executed or code is None else {}
            responses.append(real if code is None else {"Error": {"Code": code, "Message": "injected"}})
        return Answer({"Responses": responses})

    return for_writes(script)


@contextlib.contextmanager
def wire(server: str) -> Iterator[Wire]:
    """A proxy for the duration of the block."""
    proxy = Wire(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = proxy.answer(Request(operation, body))
            except (Cut, OSError):
                self.close_connection = True
                return
            with contextlib.suppress(ConnectionError):  # the client did not wait
                self.reply(answer)

        def reply(self, answer: Answer) -> None:
            content = json.dumps(answer.body).encode()
            self.send_response_only(answer.status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Date", answer.date or self.date_time_string())
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        http_server.daemon_threads = True
        proxy.endpoint = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=partial(http_server.serve_forever, 0.05))
        thread.start()
        try:
            yield proxy
        finally:
            http_server.shutdown()
            thread.join()
