"""pytest plugin: estimates at the start how long the run will take, from the durations of earlier runs.

With ``--durations`` it shows at the end where the time went.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

KEY = "pyncette/seconds"
PHASES = ("setup", "call", "teardown")
MOST = 40
"""The maximum number of rows in the table at the end."""
UNKNOWN = 0.15
"""The estimate in seconds for a test of a module that has not run here yet."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and hasattr(config, "cache"):
        config.pluginmanager.register(Estimate(config), "pyncette-estimate")


class Estimate:
    """Keeps the mean duration of the tests of each module in pytest's cache."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tests: defaultdict[str, set[str]] = defaultdict(set)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._parts: defaultdict[str, list[pytest.TestReport]] = defaultdict(list)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items and not self._config.option.collectonly:
            self._announce([item.nodeid for item in session.items], 1)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """pytest-xdist: all of its processes have collected the same tests, so the first one is enough."""
        if node.workerinput["workerid"] == "gw0":
            self._announce(ids, node.workerinput["workercount"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        module = report.nodeid.partition("::")[0]
        self._tests[module].add(report.nodeid)
        self._seconds[module] += report.duration
        scope = report.nodeid.rpartition("::")[0]
        loop = next((f" on {loop}" for loop in ("asyncio", "trio") if f"[{loop}" in report.nodeid), "")
        self._parts[scope.rpartition("/")[2] + loop].append(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._config.option.durations is None:
            return
        terminalreporter.write_sep("=", f"the {MOST} classes and modules that took longest")
        rows = []
        for name, reports in self._parts.items():
            seconds = {when: sum(one.duration for one in reports if one.when == when) for when in PHASES}
            rows.append((sum(seconds.values()), seconds["setup"], len({one.nodeid for one in reports}), name))
        terminalreporter.write_line(" seconds  set-up   tests")
        for total, setup, count, name in sorted(rows, reverse=True)[:MOST]:
            terminalreporter.write_line(f"{total:8.1f}{setup:8.1f}{count:8}  {name}")
        terminalreporter.write_line(f"{sum(row[0] for row in rows):8.1f}{sum(row[1] for row in rows):8.1f}  in all")

    def pytest_sessionfinish(self) -> None:
        means = {module: self._seconds[module] / len(tests) for module, tests in self._tests.items()}
        self._cache.set(KEY, self._cache.get(KEY, {}) | means)

    @property
    def _cache(self) -> pytest.Cache:
        cache = self._config.cache
        assert cache is not None
        return cache

    def _announce(self, ids: Sequence[str], processes: int) -> None:
        known = self._cache.get(KEY, {})
        modules = [each.partition("::")[0] for each in ids]
        seconds = sum(known.get(module, UNKNOWN) for module in modules) / processes
        basis = "by earlier runs here" if known.keys() >= set(modules) else "a guess: not all of it has run here yet"
        time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write_line(f"about {time} ({basis}); a part: ./dev test redis, ./dev test --lf")
