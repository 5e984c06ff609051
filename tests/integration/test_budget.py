"""Tests of a sweep with a time budget, planned on a real Ray from training steps that were timed there."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.commands import run_here

pytestmark = pytest.mark.slow

# There is only one trial, so that only one configuration is timed.
SWEEP = (
    "--dataset", "digits", "--trials", "1", "--max-epochs", "100000", "--budget", "30m", "--precision", "fp32",
    "--max-concurrent", "1",
)  # fmt: skip


def test_what_a_budget_has_room_for_is_chosen_once(local_ray: None, tmp_path: Path) -> None:
    planned = run_here("pipeline.sweep", tmp_path, *SWEEP, "--plan", "--json", "plan.json").stdout
    chosen = re.match(r"budget 30m: (1 trial, (\d+) epochs, \d+ images), expected to take .*\n", planned)
    assert chosen is not None, planned
    epochs, plan = int(chosen[2]), json.loads((tmp_path / "plan.json").read_text())
    assert 1 < epochs < 100_000
    assert plan["search"]["worst_epochs"] == epochs
    assert 0 < plan["total_seconds"] <= plan["worst_seconds"]
    assert "at once: 1 trials, each 1 CPU, fp32" in planned

    again = run_here("pipeline.sweep", tmp_path, *SWEEP, "--graph", "stages.txt").stdout
    assert again.startswith(f"budget 30m: {chosen[1]}, as chosen before\n")
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["budgets"]  # no sweep was started
