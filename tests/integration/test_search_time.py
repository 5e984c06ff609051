"""Tests of a search whose time runs out: its trials stop after an epoch, are recorded whole, and resume later."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from safetensors import safe_open

from pipeline.cluster.allotment import Allotment
from pipeline.search.driver import SearchLimits
from pipeline.search.fused_groups import Fusing
from pipeline.search.tuner import run_search
from pipeline.tracking.trial_runs import trial_key
from pipeline.tracking.weights import ARTIFACTS
from pipeline.trials.records import TrialRecord
from pipeline.trials.rungs import Rungs
from tests.integration.commands import client_of
from tests.integration.digit_search import TINY, digit_search, recorded_runs
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import WEIGHTS_FILE
from vit.training.recipes import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

EPOCHS = 4
RUNGS = Rungs(1, 3, EPOCHS)
RECIPE = Recipe(epochs=EPOCHS, batch_size=32, flip=False)
# The first trial learns almost nothing, and the others are equal, so that ASHA stops none of the others.
SPECS = [
    TrialSpec(0, replace(TINY, global_pool="avg"), replace(RECIPE, learning_rate=1e-6), seed=7),
    *(TrialSpec(index, TINY, RECIPE, seed=7) for index in (1, 2)),
]


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    records, _ = _search(tmp_path_factory.mktemp("uncut"), 1, None, SearchLimits(lambda: 1))
    return records


@pytest.mark.parametrize(
    ("workers", "fusing", "stopped_after"),
    # A process that trains fused trials reports several short epochs together, up to the next rung.
    [(1, None, 2), (2, None, 3), (1, Fusing(2), 3)],
    ids=["one process", "two workers, which pause at the rungs", "fused"],
)
def test_without_time_trials_stop_and_another_time_they_go_on(
    tmp_path: Path, workers: int, fusing: Fusing | None, stopped_after: int, uncut: list[TrialRecord]
) -> None:
    asked: dict[int, int] = {}

    def only_the_first_epoch_has_time(index: int, epochs: int) -> bool:
        asked[index] = asked.get(index, 0) + 1
        return asked[index] == 1

    limits = SearchLimits(lambda: 1, may_go_on=only_the_first_epoch_has_time)
    first, runs = _search(tmp_path, workers, fusing, limits)
    assert [record.outcome for record in first] == ["finished", "budget", "budget"]
    assert [len(record.epochs) for record in first] == [EPOCHS, stopped_after, stopped_after]
    for record, run in zip(first[1:], runs[1:], strict=True):
        assert (run.info.status, run.data.tags["pipeline.stopped"]) == ("KILLED", "budget")
        assert run.data.metrics["best/val_accuracy"] == record.best.accuracy  # type: ignore[union-attr]
        assert _weights_epoch(tmp_path, run) == record.best.number  # type: ignore[union-attr]

    if workers > 1:  # how trials of several workers are resumed is tested in `test_distributed_trials.py`
        return
    again, runs_again = _search(tmp_path, workers, fusing, SearchLimits(lambda: 1))
    assert [record.outcome for record in again] == ["finished"] * 3
    assert [run.info.run_id for run in runs_again] == [run.info.run_id for run in runs]
    assert [len(record.epochs) for record in again] == [EPOCHS] * 3
    # The losses are the same but for rounding where trials were fused.
    assert _losses(again) == pytest.approx(_losses(uncut), rel=1e-3)
    client = client_of(tmp_path)
    for record, run in zip(again, runs_again, strict=True):
        assert run.info.status == "FINISHED"
        assert "pipeline.stopped" not in run.data.tags
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert [(each.step, each.value) for each in history] == [(epoch.number, epoch.loss) for epoch in record.epochs]


def _losses(records: list[TrialRecord]) -> list[float]:
    return [epoch.loss for record in records for epoch in record.epochs]


def _weights_epoch(folder: Path, run: Run) -> int:
    """Returns the epoch of the weights that a run keeps."""
    path = client_of(folder).download_artifacts(run.info.run_id, f"{ARTIFACTS}/{WEIGHTS_FILE}", str(folder))
    with safe_open(path, "pt") as file:
        return int(file.metadata()["epoch"])


def _search(
    folder: Path, workers: int, fusing: Fusing | None, limits: SearchLimits
) -> tuple[list[TrialRecord], list[Run]]:
    """Runs the search, or resumes what an earlier one left in the folder; returns the trials' records and runs."""
    search = digit_search(SPECS, folder, RUNGS, Allotment(1, 0, 1, workers), fusing=fusing)
    with recorded_runs(folder, owner="x") as runs:
        records = run_search(search, [runs], lambda: False, limits)
    tracker = runs.tracker
    return records, [tracker.client.get_run(tracker.run_id(trial_key(spec.index))) for spec in SPECS]
