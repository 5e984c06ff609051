"""Gathers what the tracking store has recorded of one trained model."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from numpy.typing import NDArray

from pipeline.compare.subjects import Subject
from pipeline.tracking.run_files import fetch_file
from pipeline.tracking.test_set_reads import TEST_SET_READ_TAG
from pipeline.tracking.weights import ARTIFACTS
from pipeline.trials.folder import CONFUSION_FILE
from pipeline.trials.predictions import PREDICTIONS_FILE, Predictions
from vit.files.storage import CONFIG_FILE

_VERSION_TEST_DIGEST = "pipeline.test_digest"
_ENDINGS = {"FINISHED": "finished", "FAILED": "failed", "RUNNING": "running"}


@dataclass(frozen=True)
class Evidence:
    name: str
    """The name that the user gave."""
    run_id: str
    run_name: str
    kind: str
    """`train`, `trial`, `finalist`, `audit` or `reproduce`."""
    ended: str
    settings: dict[str, str]
    metrics: dict[str, float]
    data_digest: str | None
    """The digest of all images that the model was trained, validated and tested on."""
    class_names: tuple[str, ...] | None
    confusion: NDArray[np.int64] | None
    """The best epoch's confusion matrix on the validation images: rows are true classes, columns predicted ones."""
    test: Predictions | None
    """The predictions on the test images; None if there are none, or if they have an older version's format."""
    test_digest: str | None
    """The digest of the test images."""


def gather(client: MlflowClient, subject: Subject) -> Evidence:
    run = subject.run
    tags, run_id = run.data.tags, run.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        config = fetch_file(client, scratch, run_id, f"{ARTIFACTS}/{CONFIG_FILE}")
        confusion = fetch_file(client, scratch, run_id, f"{ARTIFACTS}/{CONFUSION_FILE}")
        predictions = fetch_file(client, scratch, run_id, PREDICTIONS_FILE)
        return Evidence(
            subject.name,
            run_id,
            str(run.info.run_name),
            tags["pipeline.kind"],
            tags.get("pipeline.stopped") or _ENDINGS.get(run.info.status, "stopped"),
            dict(run.data.params),
            dict(run.data.metrics),
            tags.get("pipeline.data_digest"),
            None if config is None else tuple(json.loads(config.read_text(encoding="utf-8"))["class_names"]),
            None if confusion is None else np.load(confusion, allow_pickle=False),
            None if predictions is None else Predictions.read(predictions),
            subject.version_tags.get(_VERSION_TEST_DIGEST) or _test_digest(client, subject),
        )


def _test_digest(client: MlflowClient, subject: Subject) -> str | None:
    """Returns the digest of the test images that a model was measured on; None if it is not known.

    The run of a training outside a sweep has it as a tag. For finalists, the sweep reads the test images in a stage,
    and the run of that stage has the tag.
    """
    run = subject.run
    own, parent = run.data.tags.get(TEST_SET_READ_TAG), run.data.tags.get("mlflow.parentRunId")
    if own is not None or parent is None:
        return own
    condition = f"tags.`mlflow.parentRunId` = '{parent}' AND tags.`{TEST_SET_READ_TAG}` LIKE '%'"
    stages = client.search_runs(
        [run.info.experiment_id], condition, max_results=1, order_by=["attributes.start_time DESC"]
    )
    return stages[0].data.tags[TEST_SET_READ_TAG] if stages else None
