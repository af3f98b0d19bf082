"""The dashboard and the alert rules use existing metrics, and each alert says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its types are in a distribution that nothing else needs
from prometheus_client import CollectorRegistry

from pyncette import Pyncette
from pyncette.prometheus import use_prometheus

DOCS = Path(__file__).parents[2] / "docs"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "monitoring" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())
PAGE = (DOCS / "observability.md").read_text()


def measured() -> dict[str, set[str]]:
    """The series of each metric, with the names of its labels."""
    registry = CollectorRegistry()
    use_prometheus(Pyncette(), registry=registry)
    found: dict[str, set[str]] = {}
    for collector in registry._collector_to_names:  # the labels of a metric without values are not available elsewhere
        for name in registry._collector_to_names[collector]:
            found[name] = {*collector._labelnames, "le"}  # type: ignore[attr-defined]  # as above
    return found


def are_measured(expressions: Iterable[str]) -> None:
    known = measured()
    for expression in expressions:
        names = re.findall(r"pyncette_\w+", expression)
        assert names, expression
        assert set(names) <= known.keys(), expression
        labels = {"job", "instance"}.union(*(known[name] for name in names))
        for by in re.findall(r"by \((.*?)\)", expression):
            assert {label.strip() for label in by.split(",")} <= labels, expression
        for matchers in re.findall(r"\{(.*?)\}", expression):
            assert {label.strip() for label in re.findall(r"([\w ]+)=~?\"", matchers)} <= labels, expression
        assert expression.count("(") == expression.count(")"), expression


def test_rules() -> None:
    for rule in RULES:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[mhd]", rule.get("for", "0m")), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "action"}
        assert all(isinstance(text, str) and text.endswith(".") for text in rule["annotations"].values())
    are_measured(rule["expr"] for rule in RULES)


def test_each_alert_says_what_to_do() -> None:
    rows = re.findall(r"^\| `(Pyncette\w+)` \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows] == [rule["alert"] for rule in RULES]
    assert len(RULES) > 10


def test_dashboard() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    are_measured(target["expr"] for panel in panels for target in panel["targets"])


def test_the_page_lists_all_that_is_measured() -> None:
    """Each metric family is in the table, by its name or by a common prefix."""
    rows = re.findall(r"^\| `(pyncette_[^`]+)` \|", PAGE, re.MULTILINE)
    listed: set[str] = set()
    for row in rows:
        start, brace, parts = row.partition("{")
        listed |= {start + part for part in parts.strip("}").split(",")} if brace else {row}
    ends = ("_created", "_bucket", "_count", "_sum")
    families = {name for name in measured() if not name.endswith(ends)}
    families = {name for name in families if f"{name}_total" not in families}
    assert families == listed
