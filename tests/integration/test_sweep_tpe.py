"""Tests a TPE search of a space that the user defined: a bad space is refused, and a longer search extends it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import run_here, trial_runs_of
from tests.integration.sweeps import ends, stamps

pytestmark = pytest.mark.slow

SPACE = """
from ray import tune
from tune_spaces.space import Space
from vit.training.recipes import two

SPACE = Space(
    name="mine",
    max_epochs=2,
    domains=lambda shape: {"learning_rate": tune.loguniform(1e-4, 1e-2), "embed_dim_is_not_a_field": tune.choice([1])},
    base=two,
)
"""


def sweep(folder: Path, trials: int) -> list[dict[str, Any]]:
    """Runs a sweep, and returns its trials' settings and accuracies in the order of their indices.

    The trials run one at a time, so that the same seed gives the same trials.
    """
    flags = "--dataset digits --train-limit 60 --precision fp32 --until search --search tpe --max-concurrent 1"
    flags += f" --space my_space.py --trials {trials} --json result.json"
    done = run_here("pipeline.sweep", folder, *flags.split())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    rows = json.loads((folder / "result.json").read_text())["leaderboard"]
    kept = ("trial", "learning_rate", "optimizer", "val_accuracy")
    return sorted(({name: row[name] for name in kept} for row in rows), key=lambda row: int(row["trial"]))


def test_a_space_of_ones_own_is_searched_and_a_longer_search_goes_on(local_ray: None, tmp_path: Path) -> None:
    (tmp_path / "my_space.py").write_text(SPACE)
    refused = run_here("pipeline.sweep", tmp_path, "--dataset", "digits", "--space", "my_space.py")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: --space: my_space.py draws a trial that cannot be trained: 'embed_dim_is_not_a_field' is neither a "
        "field of a model or a recipe nor head_width\n"
    )
    (tmp_path / "my_space.py").write_text(SPACE.replace(', "embed_dim_is_not_a_field": tune.choice([1])', ""))
    shorter = sweep(tmp_path, 13)
    assert [row["optimizer"] for row in shorter] == ["adamw", *["muon"] * 12]
    assert len({row["learning_rate"] for row in shorter}) == 13
    trained, runs = stamps(tmp_path / "sweeps", set(range(13))), ends(trial_runs_of(tmp_path))
    longer = sweep(tmp_path, 14)
    assert longer[:13] == shorter
    assert stamps(tmp_path / "sweeps", set(range(13))) == trained
    assert len(runs) == 13 and runs.items() < ends(trial_runs_of(tmp_path)).items()
    (folder,) = (path for path in (tmp_path / "sweeps").iterdir() if path.is_dir())
    assert folder.name.startswith("sweep-digits-")
