"""Reads everything that a sweep's page needs, from MLflow alone."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from pipeline.errors import PipelineError
from pipeline.page.mistakes import Mistakes
from pipeline.page.recorded_trials import RecordedEpoch, RecordedTrial
from pipeline.page.time_use import training_seconds
from pipeline.tracking.run_files import fetch_file, none_where_gone
from pipeline.tracking.trial_runs import FUSED_TAG
from pipeline.trials.predictions import PREDICTIONS_FILE, Predictions
from pipeline.trials.records import UNSOUND
from vit.files.storage import CONCURRENT_READS

SUMMARY_FILE, MISTAKES_FILE = "summary.json", "mistakes.npz"
"""Artifacts of the sweep's run."""
WINNER, PUBLISHED, CHAMPION = "winner", "published", "champion"
"""The models that are compared class by class."""
_CURVES = ("val/accuracy", "images_per_second", "epoch_seconds")


@dataclass(frozen=True)
class SweepRecords:
    """What MLflow has recorded of a sweep. What it lacks, as a store of an older version may, is None or absent."""

    summary: Mapping[str, Any]
    """What `pipeline.report.summary` wrote: accuracies are fractions, times are seconds."""
    trials: Sequence[RecordedTrial]
    """The trials whose runs still exist, in the leaderboard's order."""
    predictions: Mapping[str, Predictions]
    """The predictions on the test images, in the images' order, by model: of the best trainings of the winner and the
    published configuration, and of the champion. The champion is the one at the sweep's end; it is included only if it
    was measured on the same test images and is not the winner."""
    mistakes: Mistakes | None

    @property
    def class_names(self) -> list[str]:
        return list(self.summary["winner"]["test_class_accuracy"])

    @property
    def sound_rows(self) -> list[Mapping[str, Any]]:
        """The leaderboard's rows with an accuracy, without those of trials that diverged or failed."""
        scored = [row for row in self.summary["leaderboard"] if row["val_accuracy"] is not None]
        return [row for row in scored if row["ended"] not in UNSOUND]


def read_sweep(client: MlflowClient, run_id: str, predictions: Mapping[str, Predictions] | None = None) -> SweepRecords:
    """Reads the records of a sweep.

    Args:
        client: a client of the tracking store.
        run_id: the id of the sweep's own run.
        predictions: what `read_predictions` returned, if the predictions have been read already.

    Raises:
        PipelineError: the run has no summary, because the sweep has not reached its report.
        MlflowException: the store does not answer.
    """
    with _scratch() as scratch:
        summary_file = fetch_file(client, scratch, run_id, SUMMARY_FILE)
        if summary_file is None:
            raise PipelineError(f"run {run_id} holds no {SUMMARY_FILE}: a sweep writes it when it comes to its report")
        summary = json.loads(summary_file.read_text())
        mistakes_file = fetch_file(client, scratch, run_id, MISTAKES_FILE)
        mistakes = None if mistakes_file is None else Mistakes.read(mistakes_file)
    if predictions is None:
        predictions = read_predictions(client, summary)
    return SweepRecords(summary, _read_trials(client, summary), predictions, mistakes)


def read_predictions(client: MlflowClient, summary: Mapping[str, Any]) -> dict[str, Predictions]:
    """Reads the predictions for `SweepRecords.predictions`, which says what they are.

    Raises:
        MlflowException: the store does not answer.
    """
    run_ids = {WINNER: _best_run_id(client, summary["winner"])}
    if not summary["winner"]["published"]:
        run_ids[PUBLISHED] = _best_run_id(client, summary["baseline"])
    run_ids[CHAMPION] = _champion_run_id(client, summary)
    found = {}
    with _scratch() as scratch:
        for model, run_id in run_ids.items():
            file = None if run_id is None else fetch_file(client, scratch, run_id, PREDICTIONS_FILE)
            predictions = None if file is None else Predictions.read(file)
            if predictions is not None:
                found[model] = predictions
    return found


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vit-page-") as folder:
        yield Path(folder)


def _read_trials(client: MlflowClient, summary: Mapping[str, Any]) -> list[RecordedTrial]:
    images = summary["dataset"]["train_images"]
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        found = pool.map(partial(_read_trial, client, images), summary["leaderboard"])
        return [trial for trial in found if trial is not None]


def _read_trial(client: MlflowClient, images: int, row: Mapping[str, Any]) -> RecordedTrial | None:
    with none_where_gone():
        run = client.get_run(row["run_id"])
        accuracies, speeds, seconds = (
            {metric.step: metric for metric in client.get_metric_history(row["run_id"], name)} for name in _CURVES
        )
        epochs = tuple(
            RecordedEpoch(
                step,
                accuracies[step].value,
                speeds[step].value,
                seconds[step].value,
                training_seconds(images, row["batch_size"], speeds[step].value),
                accuracies[step].timestamp / 1000,
            )
            for step in sorted(accuracies.keys() & speeds.keys() & seconds.keys())
        )
        started, end = run.info.start_time / 1000, run.info.end_time
        ended = end / 1000 if end else max((epoch.ended for epoch in epochs), default=started)
        return RecordedTrial(row["trial"], started, ended, epochs, int(run.data.tags.get(FUSED_TAG, "1")))
    return None


def _best_run_id(client: MlflowClient, model: Mapping[str, Any]) -> str | None:
    """The run of the training whose weights represent a confirmed model; None if that run is gone."""
    for run_id in model["run_ids"]:
        with none_where_gone():
            if client.get_run(run_id).data.tags.get("pipeline.confirm_seed") == str(model["best_seed"]):
                return str(run_id)
    return None


def _champion_run_id(client: MlflowClient, summary: Mapping[str, Any]) -> str | None:
    registry = summary["registry"]
    if registry["champion_version"] in (None, registry["version"]):
        return None
    with none_where_gone():
        version = client.get_model_version(registry["model"], str(registry["champion_version"]))
        if version.tags.get("pipeline.test_digest") == summary["dataset"]["test_digest"]:
            return version.run_id
    return None
