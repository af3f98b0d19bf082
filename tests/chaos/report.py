"""The report of a run of the chaos, as text and as JSON."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from .checker import Verdict
from .faults import Fault
from .journal import SECOND, History
from .scene import Plan, Scene

SHOWN = 20


def report(plan: Plan, scene: Scene, history: History, verdict: Verdict) -> dict[str, Any]:
    """The report as JSON values."""
    wrong = [*scene.wrong, *verdict.wrong, *(f"{name} was left" for name in scene.left)]
    return {
        "plan": asdict(plan),
        "passed": not wrong,
        "wrong": wrong,
        "occurrences": verdict.occurrences,
        "executions": verdict.executions,
        "lost": len(verdict.lost),
        "early": len(verdict.early),
        "unexplained": len(verdict.unexplained),
        "broken": len(verdict.broken),
        "explained": dict(verdict.explained.most_common()),
        "at most once, never begun": verdict.never_begun,
        "leases lost, as workers say": history.leases_lost,
        "faults": dict(Counter(fault.cause for fault in scene.faults).most_common()),
        "faults in all": len(scene.faults),
        "each fault": [_told(fault, scene.began) for fault in scene.faults],
        "calls of operators": _calls(history),
        "troubles": dict(Counter(trouble.kind for trouble in history.troubles).most_common()),
        "starts without a storage": scene.refused,
        "lag in seconds": _lags(verdict.lags),
        "seconds under faults": (scene.healed - scene.began) / SECOND,
        "seconds to drain": (scene.drained - scene.healed) / SECOND,
        "python": platform.python_version(),
        "pyncette-core": version("pyncette-core"),
    }


def _told(fault: Fault, since: int) -> dict[str, Any]:
    """A fault, with times in seconds since the beginning."""
    began, ended = ((moment - since) / SECOND for moment in (fault.began, fault.ended))
    return {"fault": fault.cause, "target": fault.target, "began": began, "ended": ended}


def _calls(history: History) -> dict[str, int]:
    counts = Counter(f"{call.operation} {call.outcome}" for call in history.calls)
    return dict(sorted(counts.items()))


def _lags(lags: Sequence[int]) -> dict[str, float]:
    if not lags:
        return {}
    parts = {"half": 0.5, "99 %": 0.99, "all": 1.0}
    return {name: lags[min(int(part * len(lags)), len(lags) - 1)] / SECOND for name, part in parts.items()}


def as_text(told: dict[str, Any]) -> str:
    plan = told["plan"]
    lines = [
        f"{plan['store']}, seed {plan['seed']}: {'passed' if told['passed'] else 'FAILED'}",
        f"  {told['occurrences']} occurrences, {told['executions']} executions, {told['faults in all']} faults",
        f"  {told['seconds under faults']:.0f} s, and {told['seconds to drain']:.0f} s more until all was done",
        f"  {told['lost']} lost, {told['early']} early, {told['unexplained']} unexplained, {told['broken']} broken",
    ]
    lines += [
        f"  {name}: " + "; ".join(f"{key} {value}" for key, value in told[name].items())
        for name in ("faults", "explained", "calls of operators", "troubles", "lag in seconds")
        if told[name]
    ]
    lines.append(f"  at most once, never begun: {told['at most once, never begun']}")
    lines += [f"  {line}" for line in told["wrong"][:SHOWN]]
    if len(told["wrong"]) > SHOWN:
        lines.append(f"  and {len(told['wrong']) - SHOWN} more")
    return "\n".join(lines)
