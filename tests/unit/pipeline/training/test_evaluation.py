"""What is recorded of reading the test images, in a real store."""

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient

from pipeline.tracking.artifacts import ArtifactMaker
from pipeline.tracking.tracker import Tracker
from pipeline.training.evaluation import TestResult, record_test
from vit.data.arrays import ImageArrays
from vit.data.dataset import Dataset
from vit.training.metrics import Counts

IMAGES = ImageArrays(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 1]))
DATASET = Dataset("x", IMAGES, IMAGES, IMAGES, ("cat", "dog"), "", "", True, "")


def evaluate(uri: str, run_id: str, *predicted: int) -> None:
    """One command that reads the test images, with a tracker of its own."""
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    for label, guess in zip(IMAGES.labels.tolist(), predicted, strict=True):
        confusion[label, guess] += 1
    result = TestResult(Counts(float(sum(predicted)), confusion), list(predicted))
    with closing(Tracker(uri, "vit-x")) as tracker, closing(ArtifactMaker()) as artifacts:
        record_test(tracker, artifacts, DATASET, run_id, result, "trial 1")
        artifacts.finish()
        tracker.flush()


def test_a_later_evaluation_corrects_an_earlier_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with closing(Tracker(uri, "vit-x", "owner")) as tracker:
        tracker.start_run("trial/1", "trial-01")
        tracker.end_run("trial/1", "FINISHED")
        run_id = tracker.run_id("trial/1")
    client = MlflowClient(uri)
    evaluate(uri, run_id, 1, 1, 1, 1)
    evaluate(uri, run_id, 0, 0, 0, 1)
    assert client.get_run(run_id).data.metrics == {
        "test/accuracy": 0.75, "test/loss": 0.25, "test/class_accuracy/cat": 1.0, "test/class_accuracy/dog": 0.5,
    }  # fmt: skip
    table = Path(client.download_artifacts(run_id, "evaluation/test_predictions.csv", str(tmp_path))).read_text()
    assert table.split() == ["label,predicted", "0,0", "0,0", "1,0", "1,1"]
    assert client.get_run(run_id).info.status == "FINISHED"
