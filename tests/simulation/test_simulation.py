"""As many simulations as fit into the suite."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .outcome import outcome
from .plan import make_plan
from .seeds import FAILED_ONCE

ROOT = Path(__file__).resolve().parents[2]

BUDGET = 5.0
"""Seconds to spend on consecutive seeds."""

FEWEST = 20
"""The minimum number of seeds, however slow the machine is."""


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_failed_once_is_right_now(seed: int) -> None:
    assert outcome(seed).found == ()


def test_nothing_is_lost_doubled_or_early() -> None:
    until = time.monotonic() + BUDGET
    for seed in range(1_000_000):
        assert outcome(seed).found == (), f"python -m tests.simulation --seeds {seed}"
        if time.monotonic() > until and seed >= FEWEST:
            break


def test_a_seed_repeats_to_the_letter() -> None:
    for seed in range(5):
        assert outcome(seed, digest=True) == outcome(seed, digest=True)


def test_a_seed_repeats_in_another_process() -> None:
    """Although another process has another hash seed, and so another order of sets."""
    program = (
        "from tests.simulation.outcome import outcome; print(*(outcome(s, digest=True).digest for s in range(12)))"
    )
    found = set()
    for hash_seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", program]
        found.add(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(found) == 1


def test_another_seed_is_another_simulation() -> None:
    assert outcome(1, digest=True).digest != outcome(2, digest=True).digest
    assert make_plan(1) == make_plan(1)
