"""`pipeline.train --register`: the README's command, and weights that were damaged since the training."""

from pathlib import Path

import pytest

from tests.integration.commands import run_here, runs_of
from tests.integration.readme import commands_of
from vit.files.storage import WEIGHTS_FILE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

SHORT = ("--train-limit", "40", "--epochs", "1", "--precision", "fp32")
TRAIN = ("--dataset", "digits", *SHORT)


def test_a_recipe_with_settings_of_ones_own_is_trained_and_registered(tmp_path: Path) -> None:
    ((module, *flags),) = (words for words in commands_of("pipeline.train") if "--set" in words)
    done = run_here(module, tmp_path, *flags, *SHORT)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "registry: vit-digits version 1, test " in done.stdout
    (run,) = (run for run in runs_of(tmp_path) if run.data.tags["pipeline.kind"] == "train")
    expected = {"optimizer": "muon", "global_pool": "avg", "depth": "4", "learning_rate": "0.002", "epochs": "1"}
    assert {name: run.data.params[name] for name in expected} == expected
    refused = run_here(module, tmp_path, *flags, "--set", "depth=none")
    assert (refused.returncode, refused.stderr) == (2, "error: --set: depth is 'none', but must be a whole number\n")


def test_weights_that_were_cut_since_the_training_ended_are_not_registered(tmp_path: Path) -> None:
    done = run_here("pipeline.train", tmp_path, *TRAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob(f"*/*/trials/00000/{WEIGHTS_FILE}")
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    done = run_here("pipeline.train", tmp_path, *TRAIN, "--register")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "registry: vit-digits version 1, test " in done.stdout
    (fetched,) = tmp_path.glob(f"*/*/fetched/*/{WEIGHTS_FILE}")
    assert fetched.read_bytes() == whole
