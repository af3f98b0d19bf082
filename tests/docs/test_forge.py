"""The files for the forge: forms for issues, and a workflow that runs the same checks as CI here."""

from __future__ import annotations

import re
from typing import Any

import yaml  # type: ignore[import-untyped]  # its types are in a distribution that nothing else needs

from .pages import ROOT

FORGE = ROOT / ".github"


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FORGE / name).read_text())
    return content


def test_the_workflow_runs_everything() -> None:
    (job,) = load("workflows/ci.yml")["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_forms_have_what_the_forge_wants() -> None:
    forms = [load(f"ISSUE_TEMPLATE/{path.name}") for path in FORGE.glob("ISSUE_TEMPLATE/*.yml")]
    forms = [form for form in forms if "body" in form]
    assert len(forms) == 2
    for form in forms:
        assert {"name", "description"} <= form.keys()
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)


def test_links_lead_somewhere() -> None:
    for page in FORGE.glob("*.md"):
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
