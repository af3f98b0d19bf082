"""``pyncette dashboard`` serves the dashboard on its own."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from pyncette_cli.main import attempt
from tests.examples.programs import Program, free_port
from tests.helpers.dashboard import make_app

TOKEN = "operators-token-0123456789"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of a storage with an instance."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"

    async def fill() -> None:
        app, report, *_ = make_app(url)
        async with app.create() as context:
            await context.schedule_task(report, "Ada", schedule="0 8 * * *")

    anyio.run(fill)
    return url


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, environment: Mapping[str, str] = {}) -> Iterator[Callable[..., Any]]:
    """Serves the dashboard, and yields a function that requests a page and returns its status and text."""
    port = free_port()
    program = Program(["-m", "pyncette_cli", "dashboard", "--port", str(port), *arguments], folder, environment)

    def ask(path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        page = answer.read().decode()
        connection.close()
        return answer.status, page

    def is_up() -> bool:
        with contextlib.suppress(ConnectionError):
            return bool(ask("/static/icon.svg")[0] == 200)
        return False

    try:
        program.wait_for(lambda: program.matches("The dashboard is at"))
        program.wait_for(lambda: _soon(is_up))
        yield ask
    finally:
        if program.process.poll() is None:
            program.end(signal.SIGINT)
        program.kill()
    assert not program.matches("Traceback"), program.lines


def _soon(reached: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within 30 seconds. Polled, because a serving program prints nothing more."""

    async def look() -> bool:
        with anyio.move_on_after(30):
            while not reached():  # noqa: ASYNC110 -- nothing signals it
                await anyio.sleep(0.05)
        return reached()

    return anyio.run(look)


def test_with_only_the_url_of_a_storage(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--store", store, "--title", "Jobs", "--hide-arguments") as ask:
        status, page = ask("/task?name=report&by=name")
        assert status == 200
        assert "Ada" in page
        assert "· Jobs</title>" in page
        assert "declared in the workers' code" in page
        assert ask("/", Host="rebound.example")[0] == 403


def test_read_only(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--store", store, "--read-only") as ask:
        assert "read-only" in ask("/")[1]


def test_behind_a_proxy_with_tokens(store: str, tmp_path: Path) -> None:
    environment = {"PYNCETTE_DASHBOARD_TOKEN": TOKEN}
    with serving(tmp_path, "--store", store, "--root-path", "/jobs", environment=environment) as ask:
        assert ask("/jobs/")[0] == 303
        assert ask("/jobs", Authorization=f"Bearer {TOKEN}")[0] == 200, "no redirect to another scheme"
        status, page = ask("/jobs/", Authorization=f"Bearer {TOKEN}", **{"X-Forwarded-For": "10.1.2.3"})
        assert status == 200
        assert 'href="/jobs/dead"' in page
        assert ask("/static/dashboard.css")[0] == 200, "the proxy may also take the prefix away"
        assert TOKEN not in page


def test_with_the_code_of_an_app(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from datetime import timedelta\n"
        "from pyncette import Pyncette\n"
        "app = Pyncette('sqlite:///jobs.db')\n"
        "@app.task(schedule='30 2 * * *', timeout=timedelta(minutes=5))\n"
        "async def cleanup(context): ...\n"
    )
    with serving(tmp_path, "--app", "tasks:app") as ask:
        assert "not stored" in ask("/")[1]


@pytest.mark.parametrize(
    "arguments, environment, said",
    [
        (("--host", "0.0.0.0"), {}, "Set PYNCETTE_DASHBOARD_TOKEN"),  # noqa: S104 -- it is refused
        ((), {"PYNCETTE_DASHBOARD_TOKEN": "short"}, "16 characters"),
        ((), {"PYNCETTE_DASHBOARD_USERS": "ada:secret"}, "name:password:role"),
        ((), {"PYNCETTE_DASHBOARD_USERS": "ada:secret:admin"}, "'none', 'read' or 'operate'"),
        ((), {"PYNCETTE_DASHBOARD_USERS": "a:b:read", "PYNCETTE_DASHBOARD_TOKEN": TOKEN}, "not both"),
        (("--store", "sqlite:///missing.db"), {}, "There is no file"),
        (("--store", "nosuch://x"), {}, "nosuch"),
    ],
)
def test_mistakes_are_explained(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    store: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert attempt(["dashboard", "--store", store, *arguments]) in (2, 3)
    printed = capsys.readouterr().err
    assert said in printed
    assert "secret" not in printed


def test_a_port_in_use_is_reported_before_the_address(capsys: pytest.CaptureFixture[str], store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert attempt(["dashboard", "--store", store, "--port", str(port)]) == 2
    printed = capsys.readouterr()
    assert f"Can't listen on 127.0.0.1, port {port}" in printed.err
    assert "--port" in printed.err
    assert not printed.out


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **group: [])
    assert attempt(["dashboard"]) == 2
    assert 'Install it: pip install "pyncette[dashboard]>=2"' in capsys.readouterr().err
