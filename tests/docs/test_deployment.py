"""The files that the deployment page asks users to copy: they agree with each other and with the page."""

from __future__ import annotations

import configparser
import re
from typing import Any

import yaml  # type: ignore[import-untyped]  # its types are in a distribution that nothing else needs

from .pages import ROOT, blocks

FOLDER = ROOT / "docs" / "deployment"
PAGE = ROOT / "docs" / "deploying.md"
APP = (FOLDER / "app.py").read_text()
DRAIN = int(re.findall(r"drain_timeout=timedelta\(seconds=(\d+)\)", APP)[0])
PORT = int(re.findall(r"port=(\d+)", APP)[0])
BEYOND = 2
"""Seconds that a shutdown may take beyond the drain timeout."""


def deployment() -> dict[str, Any]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    return next(document for document in documents if document["kind"] == "Deployment")


def test_the_page_shows_the_program() -> None:
    (shown,) = [block.code for block in blocks("python") if block.page == PAGE]
    assert APP.partition('"""\n\n')[2] == shown


def test_kubernetes_waits_for_the_drain() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN + BEYOND


def test_kubernetes_probes_the_health_check() -> None:
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[name]["httpGet"]["port"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [ports[name] for name in probes] == [PORT] * 3
    assert {"name": "HEALTHCHECK_ADDRESS", "value": "0.0.0.0"} in container["env"]  # noqa: S104 -- within a pod


def test_a_failing_probe_restarts_after_minutes_only() -> None:
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


def test_systemd_waits_for_the_drain() -> None:
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    unit.read(FOLDER / "pyncette.service")
    assert int(unit["Service"]["TimeoutStopSec"]) > DRAIN + BEYOND
    assert unit["Service"]["KillMode"] == "mixed"


def test_docker_asks_the_health_check() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert f"http://127.0.0.1:{PORT}/" in text
    assert "pyncette[postgres]>=2" in text
