"""Reading the test images, and what is recorded of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from pipeline.artifacts import make_test_artifacts
from pipeline.cluster import Allotment
from pipeline.session import Session
from pipeline.trials.training import counts_metrics
from vit.arrays import ImageArrays
from vit.checkpoint import load_model
from vit.fit import Runtime, Split, predict
from vit.metrics import Counter, Counts
from vit.storage import Folder


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
    return list(ray.get([task.remote(folder.uri, images) for folder in weights]))


def _evaluate(folder_uri: str, test: ImageArrays) -> TestResult:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, card = load_model(Folder(folder_uri))
    split = Split.of(test, device)
    logits = predict(model.to(device), split.images, card.normalisation, Runtime(device))
    counter = Counter(card.model.num_classes, device)
    counter.add(logits, split.labels)
    return TestResult(counter.counts(), logits.argmax(dim=1).cpu().numpy().astype(np.int64).tolist())


def record_test(session: Session[Any], run_id: str, result: TestResult, title: str) -> None:
    """Adds test metrics, figures and predictions to the run that trained the model, whichever command began it."""
    key, names, labels = session.tracker.adopt(run_id), session.dataset.class_names, session.dataset.test.labels
    session.tracker.log(key, counts_metrics("test", result.counts, names), once=True)
    session.artifacts.submit(
        make_test_artifacts, title, names, result.counts.confusion.tolist(), labels.tolist(), result.predicted,
        then=lambda files: session.tracker.log(key, files=files),
    )  # fmt: skip
