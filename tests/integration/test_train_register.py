"""`pipeline.train --register` given after the training, whose folder has been damaged meanwhile."""

from pathlib import Path

import pytest

from tests.integration.commands import run_here
from vit.files.storage import WEIGHTS_FILE

pytestmark = pytest.mark.slow

TRAIN = ("--dataset", "digits", "--train-limit", "40", "--epochs", "1", "--precision", "fp32")


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
