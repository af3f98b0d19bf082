"""Every example, run as a separate program, does what it says."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .programs import EXAMPLES, Program, free_port

RUN_TO_THEIR_END = {
    "dynamic_tasks": ["Hello, Ada!", "Hello, Grace!", "Grace is greeted next at"],
    "delay_queue": ["sending after 1 s", "sending after 2 s", "^0 left"],
    "bulk": ["^5001 users", "^scheduled 5000", "refused user x because interval must be positive", "^unscheduled"],
    "manual_clock": ["^31 runs", "2026-03-29T03:00:00"],
    "retries": ["^flaky: attempt 3 succeeded", "^slow: attempt 2", "^polite: executed"],
    "dead_letters": ["^dead: \\['invoice', 'reminder'\\]", "^delivered invoice", "^delivered reminder"],
    "maintenance_window": [
        "^21:00 summary of 21:00",
        "^03:30 summary of 03:00",
        "^03:30 alarm of 03:00",
        "^04:00 alarm",
    ],
    "partitioned_tasks": ["report for user 9"],
    "fencing_token": ["^written", "^refused"],
    "typed_tasks": ["^3 more are scheduled", "^refused: The task 'remind' has no argument 'chanel'", "^4 messages"],
    "traces": ["^process deliver failed linked to POST /orders", "^process deliver succeeded linked to POST /orders"],
    "alerts": ["^alert: deliver:invoice has failed after 2 attempts: ConnectionError"],
}
RUN_UNTIL_STOPPED = {
    "basic": ["^cron: ", "^interval:"],
    "persistence": ["^cron: ", "^interval:"],
    "fixtures_and_middlewares": ["^count: 2", r"count took 0\.\d+ s"],
    "heartbeats": ["^automatic:", "^cooperative:"],
    "with_trio": ["^tick"],
    "synchronous": ["^crunched"],
}
NEED_A_SERVER = ["on_redis", "on_postgres", "on_mysql", "on_dynamodb"]
OF_THEIR_OWN = [
    "dashboard_in_fastapi",
    "fastapi_and_sqlalchemy",
    "healthcheck",
    "prometheus",
    "run_log_page",
    "web_application",
]

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def _start(*arguments: str, environment: Mapping[str, str] | None = None) -> Program:
        programs.append(Program(arguments, tmp_path, environment or {}))
        return programs[-1]

    yield _start
    for program in programs:
        program.kill()


def path(name: str) -> str:
    return str(EXAMPLES / f"{name}.py")


def wait_for_all(program: Program, patterns: list[str]) -> None:
    for pattern in patterns:
        program.wait_for(partial(program.matches, pattern))


def test_every_example_is_tested() -> None:
    tested = [*RUN_TO_THEIR_END, *RUN_UNTIL_STOPPED, *NEED_A_SERVER, *OF_THEIR_OWN]
    assert sorted(tested) == sorted(example.stem for example in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", RUN_TO_THEIR_END)
def test_it_runs_to_its_end(start: Start, name: str) -> None:
    program = start(path(name))
    wait_for_all(program, RUN_TO_THEIR_END[name])
    assert program.end() == 0, program.lines


@pytest.mark.parametrize("name", RUN_UNTIL_STOPPED)
def test_it_runs_until_it_is_stopped(start: Start, name: str) -> None:
    program = start(path(name))
    wait_for_all(program, RUN_UNTIL_STOPPED[name])
    assert program.end(signal.SIGINT) == 0, program.lines
    assert not program.matches("Traceback")


def test_persistence_goes_on_where_it_was(start: Start) -> None:
    first = start(path("persistence"))
    first.wait_for(lambda: len(first.matches("^interval:")) >= 2)
    assert first.end(signal.SIGINT) == 0
    second = start(path("persistence"))
    second.wait_for(lambda: second.matches("^interval:"))
    assert second.end(signal.SIGINT) == 0
    runs = [line.split(maxsplit=1)[1] for line in first.matches("^interval:") + second.matches("^interval:")]
    assert len(set(runs)) == len(runs)
    fractions = {run.partition(".")[2] for run in runs}
    assert len(fractions) == 1  # a single grid: the second process did not start over


def _mysql(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "MYSQL_HOST": parts.hostname or "",
        "MYSQL_PORT": str(parts.port),
        "MYSQL_USER": parts.username or "",
        "MYSQL_PASSWORD": parts.password or "",
        "MYSQL_DATABASE": parts.path.lstrip("/"),
    }


SERVERS: dict[str, tuple[str, Callable[[Any], dict[str, str]]]] = {
    "on_redis": ("redis_server", lambda server: {"REDIS_URL": server.url}),
    "on_postgres": ("postgres_server", lambda server: {"POSTGRES_URL": server.url}),
    "on_mysql": ("mysql_server", lambda server: _mysql(server.url)),
    "on_dynamodb": (
        "dynamodb_server",
        lambda server: {
            "DYNAMODB_ENDPOINT": server.endpoint,
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
    ),
}


@pytest.mark.parametrize("name", NEED_A_SERVER)
def test_two_processes_share_a_server(start: Start, request: pytest.FixtureRequest, name: str) -> None:
    fixture, environment_of = SERVERS[name]
    environment = environment_of(request.getfixturevalue(fixture))
    programs = [start(path(name), environment=environment) for _ in range(2)]
    for program in programs:
        program.wait_for(partial(program.matches, "Running one task"))
    programs[0].wait_for(lambda: sum(len(program.matches("^tick")) for program in programs) >= 3)
    assert [program.end(signal.SIGTERM) for program in programs] == [0, 0]
    ticks = [line for program in programs for line in program.matches("^tick")]
    assert len(set(ticks)) == len(ticks)


def test_healthcheck(start: Start) -> None:
    port = free_port()
    program = start(path("healthcheck"), environment={"PORT": str(port)})
    program.wait_for(lambda: program.matches("^tick"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    assert program.end(signal.SIGTERM) == 0


def test_prometheus(start: Start) -> None:
    port = free_port()
    program = start(path("prometheus"), environment={"PORT": str(port)})
    program.wait_for(lambda: program.matches("^tick"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    families = {family.name for family in text_string_to_metric_families(text)}
    for kind in ("tasks", "ticks", "repository_ops"):
        assert {
            f"pyncette_{kind}",
            f"pyncette_{kind}_duration_seconds",
            f"pyncette_{kind}_failures",
            f"pyncette_{kind}_in_progress",
        } <= families
    assert "pyncette_tasks_staleness_seconds" in families
    assert program.end(signal.SIGTERM) == 0


def test_run_log_page(start: Start) -> None:
    port = free_port()
    program = start("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "run_log_page:web")
    program.wait_for(lambda: program.matches("Uvicorn running"))
    program.wait_for(lambda: program.matches("the price server is down"))

    def shows_failed() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/?outcome=failed&text=price")
        page = connection.getresponse().read().decode()
        connection.close()
        assert "succeeded" not in page
        return "<td>import_prices</td>" in page and "ConnectionError: the price server is down" in page

    program.wait_for(shows_failed)
    program.process.send_signal(signal.SIGINT)
    program.process.wait(30)


def test_dashboard_in_fastapi(start: Start) -> None:
    port = free_port()
    program = start("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "dashboard_in_fastapi:web")
    program.wait_for(lambda: program.matches("Uvicorn running"))

    def asked(user: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path, headers={"Cookie": f"user={user}"})
        answer = connection.getresponse()
        page = answer.read().decode()
        connection.close()
        return answer.status, page

    assert asked("", "/jobs/")[0] == 403
    program.wait_for(lambda: "clean_up" in asked("ada", "/jobs/")[1])
    for user, word in {"ada": "Trigger", "eve": "read-only"}.items():
        status, page = asked(user, "/jobs/instance?task=remind&name=Ada")
        assert status == 200
        assert word in page
        assert "drink some water" in page
    _stops(program)


def _stops(program: Program) -> None:
    program.process.send_signal(signal.SIGINT)
    try:
        program.process.wait(30)
    except subprocess.TimeoutExpired:
        pytest.fail("\n".join(program.lines))
    assert not program.matches("Traceback")


def test_fastapi_and_sqlalchemy(start: Start) -> None:
    port = free_port()
    program = start(
        *("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_and_sqlalchemy:web"),
    )
    program.wait_for(lambda: program.matches("Uvicorn running"))

    def request(method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return json.loads(text) if text else answer.status

    order = request("POST", "/orders", {"customer": "Ada", "cents": 999, "remind_after": "PT0.2S"})
    assert (order["customer"], order["cents"], order["reminders"]) == ("Ada", 999, 0)
    program.wait_for(lambda: program.matches("^reminder: Ada, 999 cents: Your order waits"))
    program.wait_for(lambda: request("GET", f"/orders/{order['id']}")["reminders"] == 1)
    assert request("POST", "/orders", {"customer": "Eve", "cents": 0}) == {"detail": "An order costs something."}
    kept = request("POST", "/orders", {"customer": "Grace", "cents": 5})
    assert request("GET", "/reminders") == [kept["id"]]
    assert request("DELETE", f"/orders/{kept['id']}") == 204
    assert request("GET", "/reminders") == []
    _stops(program)


def test_web_application(start: Start) -> None:
    port = free_port()
    program = start(
        *("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "web_application:web"),
    )
    program.wait_for(lambda: program.matches("Uvicorn running"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/reminders", json.dumps({"name": "tea", "seconds": 0.2, "text": "drink tea"}))
    assert connection.getresponse().status == 201
    connection.close()
    program.wait_for(lambda: program.matches("^reminder: drink tea"))
    _stops(program)
