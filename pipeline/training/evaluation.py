"""Reading the test images, and what is recorded of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.tracking.artifacts import ArtifactMaker, make_test_artifacts
from pipeline.tracking.tracker import Tracker
from pipeline.training.training import counts_metrics
from vit.data.arrays import ImageArrays
from vit.data.dataset import Dataset
from vit.files.checkpoint import load_model
from vit.files.storage import Folder
from vit.training.fit import Runtime, Split, predict
from vit.training.metrics import Counter, Counts


@dataclass(frozen=True)
class TestResult:
    """A model on the test images, in fp32."""

    __test__ = False  # not a test of pytest's

    counts: Counts
    predicted: list[int]
    """The predicted class of each test image, in the data set's order."""


def evaluate_on_test(weights: Sequence[Folder], test: ImageArrays, allotment: Allotment) -> list[TestResult]:
    """Evaluates models on the cluster, side by side, given the folders of their weights."""
    images = ray.put(test)
    task: Any = ray.remote(_evaluate).options(num_cpus=allotment.cpus, num_gpus=allotment.gpus)
    on_gpu = allotment.gpus > 0
    return list(ray.get([task.remote(folder.uri, images, on_gpu) for folder in weights]))


def _evaluate(folder_uri: str, test: ImageArrays, on_gpu: bool) -> TestResult:
    device = torch.device("cuda" if on_gpu else "cpu")
    model, card = load_model(Folder(folder_uri))
    split = Split.of(test, device)
    logits = predict(model.to(device), split.images, card.normalisation, Runtime(device))
    counter = Counter(card.model.num_classes, device)
    counter.add(logits, split.labels)
    return TestResult(counter.counts(), logits.argmax(dim=1).cpu().numpy().astype(np.int64).tolist())


def record_test(
    tracker: Tracker, artifacts: ArtifactMaker, dataset: Dataset, run_id: str, result: TestResult, title: str
) -> None:
    """Adds test metrics, figures and predictions to the run that trained the model, whichever command began it."""
    key, names, labels = tracker.adopt(run_id), dataset.class_names, dataset.test.labels
    tracker.log(key, counts_metrics("test", result.counts, names))  # a later evaluation corrects an earlier one
    artifacts.submit(
        make_test_artifacts, title, names, result.counts.confusion.numpy(), labels.tolist(), result.predicted,
        name=f"{title} on the test images", then=lambda files: tracker.log(key, files=files),
    )  # fmt: skip
