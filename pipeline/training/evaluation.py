"""Evaluates models on the test images, and records the results in MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.tracking.artifacts import ArtifactMaker, make_test_artifacts
from pipeline.tracking.tracker import Tracker
from pipeline.training.epoch_metrics import counts_metrics
from pipeline.trials.predictions import Predictions
from vit.data.arrays import ImageArrays
from vit.data.dataset import Dataset
from vit.files.checkpoint import load_model
from vit.files.storage import Folder
from vit.training.evaluation import predict
from vit.training.metrics import Counter, Counts
from vit.training.runtime import Runtime, Split


@dataclass(frozen=True)
class TestResult:
    """The results of a model on the test images, in fp32."""

    __test__ = False  # tells pytest that this class is not a test

    counts: Counts
    predictions: Predictions
    """The prediction for each image, in the data set's order."""
    tta_correct: int | None = None
    """How many images are classified correctly by the mean of their logits and those of their mirror image; None if not
    asked for."""


def evaluate_on_test(
    weights: Sequence[Folder], test: ImageArrays, allotment: Allotment, with_mirror: bool
) -> list[TestResult]:
    """Evaluates models in parallel on the cluster, given the folders of their weights.

    `with_mirror` also counts how many images are classified correctly from an image and its mirror image together.
    """
    images = ray.put(test)
    # Given by `options`, a GPU could go to a process that has used another one before, and would stay on that.
    task: Any = ray.remote(num_cpus=allotment.cpus, num_gpus=allotment.gpus)(_evaluate)
    on_gpu = allotment.gpus > 0
    return list(ray.get([task.remote(folder.uri, images, on_gpu, with_mirror) for folder in weights]))


def _evaluate(folder_uri: str, test: ImageArrays, on_gpu: bool, with_mirror: bool) -> TestResult:
    device = torch.device("cuda" if on_gpu else "cpu")
    model, card = load_model(Folder(folder_uri))
    split = Split.of(test, device)
    model, runtime = model.to(device), Runtime(device)
    logits = predict(model, split.images, card.normalisation, runtime)
    counter = Counter(card.model.num_classes, device)
    counter.add(logits, split.labels)
    tta_correct = None
    if with_mirror:
        both = predict(model, split.images, card.normalisation, runtime, with_mirror=True)
        tta_correct = int((both.argmax(dim=1) == split.labels).sum())
    predictions = Predictions.of(test.labels, logits.softmax(dim=1).cpu().numpy())
    return TestResult(counter.counts(), predictions, tta_correct)


def record_test(
    tracker: Tracker, artifacts: ArtifactMaker, dataset: Dataset, run_id: str, result: TestResult, title: str
) -> None:
    """Adds test metrics, figures and predictions to the run that trained the model, whichever command started it."""
    key, names = tracker.adopt(run_id), dataset.class_names
    metrics = counts_metrics("test", result.counts, names)
    if result.tta_correct is not None:
        metrics["test/accuracy_tta_flip"] = result.tta_correct / result.counts.total
    tracker.log(key, metrics)  # a later evaluation corrects an earlier one
    artifacts.submit(
        make_test_artifacts, title, names, result.counts.confusion.numpy(), result.predictions,
        name=f"{title} on the test images", then=lambda files: tracker.log(key, files=files),
    )  # fmt: skip
