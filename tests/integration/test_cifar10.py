"""A real sweep on real photographs: CIFAR-10, where a copy of it is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
COPY = Path(os.environ.get("VIT_DATA_DIR") or "~/.cache/vit").expanduser() / "cifar10"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COPY.is_dir(), reason=f"{COPY} is not there: VIT_DATA_DIR names the folder that holds it"),
]


def test_sweep(tmp_path: Path) -> None:
    arguments = "--dataset cifar10 --train-limit 300 --trials 2 --max-epochs 1 --json result.json".split()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.sweep", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert (
        f"prepare: cifar10 from {COPY.resolve()}: 300 train, 75 validation, 10000 test images of 32x32x3" in done.stdout
    )
    assert "search: 2 trials of space natural" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["dataset"]["test_images"] == 10_000
    assert list(result["winner"]["test_class_accuracy"]) == CLASSES
    # Balanced classes: the mean of their accuracies is the accuracy.
    by_class = result["winner"]["test_class_accuracy"].values()
    assert sum(by_class) / 10 == pytest.approx(result["winner"]["test_accuracy"])
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for row in result["leaderboard"]:
        metrics = client.get_run(row["run_id"]).data.metrics
        measured = [metrics[f"val/class_accuracy/{name}"] for name in CLASSES]
        assert sum(measured) / 10 == pytest.approx(metrics["val/accuracy"], abs=0.03)  # 7 or 8 images of each class
        assert metrics["images_per_second"] > 0
    model = client.get_model_version_by_alias("vit-cifar10", "challenger")
    assert model.tags["pipeline.test_correct"] == str(result["winner"]["test_correct"])
