"""Tests a real sweep on real photographs, those of CIFAR-10, if the machine has a copy of them."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from tests.integration.commands import run_here
from tests.integration.readme import commands_of

COPY = Path(os.environ.get("VIT_DATA_DIR") or "~/.cache/vit").expanduser() / "cifar10"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

IMAGES = {"train": 2000, "test": 200}
"""How many images of each split are used: all 60,000 would take most of a minute on two cores and show nothing more."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (COPY / "test.parquet").is_file(),
        reason=f"{COPY}/test.parquet is not there: VIT_DATA_DIR names the folder that holds it",
    ),
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with some of the images of CIFAR-10."""
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for split, count in IMAGES.items():
        pq.write_table(pq.read_table(COPY / f"{split}.parquet").slice(0, count), folder / f"{split}.parquet")
    return folder.parent


def test_the_readmes_command(tmp_path: Path, data_dir: Path) -> None:
    ((module, *flags),) = (words for words in commands_of("pipeline.sweep") if "cifar10" in words)
    # The last value given for a flag counts.
    limits = "--train-limit 200 --precision fp32 --trials 2 --max-epochs 1 --finalists 1 --seeds 1 --json result.json"
    arguments = (*flags, *limits.split())
    done = run_here(module, tmp_path, *arguments, env={"VIT_DATA_DIR": str(data_dir)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    sizes = f"200 train, 50 validation, {IMAGES['test']} test images of 32x32x3, 10 classes"
    assert f"prepare: cifar10 from {data_dir / 'cifar10'}: {sizes}" in done.stdout
    assert "search: 2 trials of space natural" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["dataset"]["test_images"] == IMAGES["test"]
    assert list(result["winner"]["test_class_accuracy"]) == CLASSES
    # The classes have about equally many images, so the mean of their accuracies is close to the accuracy.
    by_class = result["winner"]["test_class_accuracy"].values()
    assert sum(by_class) / 10 == pytest.approx(result["winner"]["test_accuracy"], abs=0.03)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for row in result["leaderboard"]:
        metrics = client.get_run(row["run_id"]).data.metrics
        measured = [metrics[f"val/class_accuracy/{name}"] for name in CLASSES]
        assert sum(measured) / 10 == pytest.approx(metrics["val/accuracy"], abs=0.03)  # 5 images of each class
        assert metrics["images_per_second"] > 0
    model = client.get_model_version_by_alias("vit-cifar10", "challenger")
    assert model.tags["pipeline.test_correct"] == str(result["winner"]["test_correct"])
