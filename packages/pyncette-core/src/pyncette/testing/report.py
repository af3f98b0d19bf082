"""A pytest plugin that reports what the contract suite found out about each store, as text and as JSON.

    pytest -p pyncette.testing.report --contract-report=report.json

Off unless the option is given: it puts a watcher around every repository.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Coroutine, Generator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pyncette.repository import CONTRACT_VERSION, Repository

from .capabilities import Capabilities
from .contract.base import ContractBase
from .faults import Call, FaultPlan, FaultyRepository


@dataclass(slots=True)
class Operation:
    """The durations of one method's calls.

    :ivar seconds: from each call to its result.
    :ivar waits: how often it waited for the driver; where the driver's connection is free, once for each round trip.
        On trio, a backend for asyncio alone waits once, for its other thread.
    """

    seconds: list[float] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        return {
            "calls": len(self.seconds),
            "seconds": {"median": statistics.median(self.seconds), "worst": max(self.seconds)},
            "waits": {"median": statistics.median(self.waits), "worst": max(self.waits)},
        }


@dataclass(slots=True)
class StoreReport:
    """One class of tests on one event loop.

    :ivar left_out: what the store does not have, or the run left out, and so was not asked for; by test.
    """

    store: str
    loop: str
    quick: bool
    capabilities: Capabilities
    outcomes: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    operations: defaultdict[str, Operation] = field(default_factory=lambda: defaultdict(Operation))

    def as_json(self) -> dict[str, Any]:
        counts: dict[str, int] = {}
        for outcome in self.outcomes.values():
            counts[outcome] = counts.get(outcome, 0) + 1
        return {
            "store": self.store,
            "event_loop": self.loop,
            "quick": self.quick,
            "capabilities": asdict(self.capabilities),
            "outcomes": counts,
            "failed": sorted(name for name, outcome in self.outcomes.items() if outcome == "failed"),
            "left_out": self.left_out,
            "seconds": round(self.seconds, 3),
            "operations": {name: one.summary() for name, one in sorted(self.operations.items())},
        }


class Reporter:
    """Watches the tests of the suites, and writes the report at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stores: dict[tuple[str, str], StoreReport] = {}
        self._current: StoreReport | None = None

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._current = None
        cls = getattr(item, "cls", None)
        if cls is not None and issubclass(cls, ContractBase):
            parameters = getattr(item, "callspec", None)
            loop = str(parameters.params.get("anyio_backend", "")) if parameters else ""
            place = (f"{cls.__module__}.{cls.__qualname__}", loop)
            if place not in self.stores:
                self.stores[place] = StoreReport(*place, cls.quick, cls.capabilities)
            self._current = self.stores[place]
        ContractBase.left_out.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        current = self._current
        if current is None:
            return
        current.seconds += report.duration
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        if report.failed or report.when == "call" or (report.when == "setup" and report.skipped):
            current.outcomes[name] = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
        if report.skipped and not hasattr(report, "wasxfail"):
            current.left_out[name] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        for reason in ContractBase.left_out:
            current.left_out[name] = reason
        ContractBase.left_out.clear()

    def watched(self, repository: Repository) -> Repository:
        """The repository, with each method timed."""
        plan = FaultPlan()
        plan.always(self._measure)
        return FaultyRepository(repository, plan)

    async def _measure(self, call: Call) -> Any:
        counter = [0]
        begin = time.perf_counter()
        try:
            return await _Waits(counter, call.run())
        finally:
            if self._current is not None:
                operation = self._current.operations[call.method]
                operation.seconds.append(time.perf_counter() - begin)
                operation.waits.append(counter[0])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.stores:
            return
        stores = [store.as_json() for store in self.stores.values()]
        document = {"contract_version": CONTRACT_VERSION, "pyncette_core": version("pyncette-core"), "stores": stores}
        self.path.write_text(json.dumps(document, indent=2) + "\n")
        terminalreporter.section("contract of Pyncette")
        terminalreporter.write(as_text(document) + f"\nwritten to {self.path}\n")


def as_text(document: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f"contract {document['contract_version']}, pyncette-core {document['pyncette_core']}"]
    for store in document["stores"]:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in store["outcomes"].items())
        able = ", ".join(f"{name}={value}" for name, value in store["capabilities"].items())
        lines += ["", f"{store['store']} on {store['event_loop'] or 'one loop'}: {counts} in {store['seconds']:.1f} s"]
        lines += [f"  capabilities: {able}{', quick' if store['quick'] else ''}"]
        lines += [f"  failed: {name}" for name in store["failed"]]
        lines += [f"  left out: {name}: {reason}" for name, reason in sorted(store["left_out"].items())]
        if store["operations"]:
            lines += ["  operation    calls   median ms   worst ms   waits, median   worst"]
        for name, one in store["operations"].items():
            seconds, waits = one["seconds"], one["waits"]
            times = f"{seconds['median'] * 1000:11.2f} {seconds['worst'] * 1000:10.1f}"
            lines.append(f"  {name:10} {one['calls']:7} {times} {waits['median']:15g} {waits['worst']:7}")
    return "\n".join(lines)


class _Waits:
    """Awaits ``work``, and counts how often it waits."""

    def __init__(self, counter: list[int], work: Coroutine[Any, Any, Any]) -> None:
        self._counter = counter
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Any = self._work.send
        value: Any = None
        while True:
            try:
                awaited = resume(value)
            except StopIteration as end:
                return end.value
            self._counter[0] += 1
            try:
                value = yield awaited
                resume = self._work.send
            except BaseException as error:  # noqa: BLE001 - thrown into the work
                value = error
                resume = self._work.throw


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("pyncette").addoption(
        "--contract-report",
        metavar="FILE",
        help="write what the contract suite found out about each store into this file, as JSON, and show it",
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--contract-report")
    if path:
        reporter = Reporter(Path(path))
        config.pluginmanager.register(reporter, "pyncette-contract-report")
        ContractBase.watch = reporter.watched


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("pyncette-contract-report"):
        ContractBase.watch = None
