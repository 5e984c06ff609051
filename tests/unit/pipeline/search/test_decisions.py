"""Tests of the explanation why a trial ended, read from a real SQLite store that `TrialRuns` has written."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import UsageError
from pipeline.search.decisions import DECISIONS_FILE, explain, log_decisions
from pipeline.tracking.artifacts import ArtifactMaker
from pipeline.tracking.events import DatasetReference
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.trial_runs import SWEEP_RUN, TrialRuns
from pipeline.trials.records import Outcome, TrialRecord, TrialResult
from pipeline.trials.rungs import Decision
from tests.deadline import DEADLINE
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

DATA = DatasetReference("x", "sha256:" + "0" * 64, "nowhere")
FIRST = Decision(1, 0.5, None, rank=1, of=1, go_on=True)
PASSED = Decision(1, 0.6123, 0.5, rank=2, of=7, go_on=True)
STOPPED = Decision(3, 0.4, 0.46667, rank=9, of=10, go_on=False)

_numbers = itertools.count()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('decisions')}/mlflow.db"


@pytest.fixture
def tracker(database: str) -> Iterator[Tracker]:
    tracker = Tracker(database, f"vit-{next(_numbers)}")
    yield tracker
    tracker.close(timeout=DEADLINE)


def start_sweep(tracker: Tracker, name: str, at: int | None = None) -> TrialRuns:
    tags = {"pipeline.kind": "sweep"}
    tracker.start_run(SWEEP_RUN, name, tags=tags, params={"trials": 32}, at=at)
    return TrialRuns(tracker, ArtifactMaker(), "nowhere", DATA, ("a", "b"))


def record(index: int, outcome: Outcome, *decisions: Decision, error: str | None = None) -> TrialRecord:
    return TrialRecord(TrialSpec(index, ViTConfig(), Recipe(), seed=0), outcome, (), error, decisions)


def tell(runs: TrialRuns, trial: TrialRecord) -> None:
    runs.trial_started(trial.spec)
    runs.trial_ended(trial)


def explained(tracker: Tracker, trial: int) -> list[str]:
    tracker.flush()
    return explain(MlflowClient(tracker.uri), tracker.experiment, trial)


@pytest.mark.parametrize(
    ("trial", "lines"),
    [
        (
            record(5, "asha", PASSED, STOPPED),
            [
                "trial 5 of sweep-x was stopped by ASHA",
                "  epoch 1: validation 61.23%, rank 2 of 7 so far, cut-off 50.00%: went on",
                "  epoch 3: validation 40.00%, rank 9 of 10 so far, cut-off 46.67%: stopped",
            ],
        ),
        (
            record(6, "finished", FIRST),
            [
                "trial 6 of sweep-x ran to its full length",
                "  epoch 1: validation 50.00%, rank 1 of 1 so far, the first there, which goes on: went on",
            ],
        ),
        (record(7, "finished"), ["trial 7 of sweep-x ran to its full length"]),
        (record(8, "failed", error="out of memory"), ["trial 8 of sweep-x failed: out of memory"]),
        (
            record(9, "diverged", PASSED, error="the loss is nan"),
            [
                "trial 9 of sweep-x diverged: the loss is nan",
                "  epoch 1: validation 61.23%, rank 2 of 7 so far, cut-off 50.00%: went on",
            ],
        ),
        (
            record(11, "diverged", Decision(3, 0.0, None, rank=1, of=1, go_on=False), error="the loss is nan"),
            [
                "trial 11 of sweep-x diverged: the loss is nan",
                "  epoch 3: diverged before this rung, and is ranked last there: rank 1 of 1 so far",
            ],
        ),
        (
            record(4, "budget", PASSED),
            [
                "trial 4 of sweep-x was stopped when the budget's time for the search was over",
                "  epoch 1: validation 61.23%, rank 2 of 7 so far, cut-off 50.00%: went on",
            ],
        ),
        (record(10, "interrupted"), ["trial 10 of sweep-x was interrupted"]),
        (
            record(0, "finished", Decision(1, 0.1, 0.5, rank=4, of=4, go_on=True), PASSED),
            [
                "trial 0 of sweep-x ran to its full length",
                "  epoch 1: validation 10.00%, rank 4 of 4 so far, cut-off 50.00%: "
                "went on below it, being the published configuration",
                "  epoch 1: validation 61.23%, rank 2 of 7 so far, cut-off 50.00%: went on",
            ],
        ),
    ],
    ids=lambda value: f"{value.index}-{value.outcome}" if isinstance(value, TrialRecord) else "",
)
def test_the_end_of_a_trial_in_words(tracker: Tracker, trial: TrialRecord, lines: list[str]) -> None:
    tell(start_sweep(tracker, "sweep-x"), trial)
    assert explained(tracker, trial.index) == lines


def test_a_trial_under_way_has_not_ended(tracker: Tracker) -> None:
    start_sweep(tracker, "sweep-x").trial_started(record(1, "finished").spec)
    assert explained(tracker, 1) == ["trial 1 of sweep-x has not ended"]


def test_a_trial_whose_number_begins_another_ones_is_not_taken_for_it(tracker: Tracker) -> None:
    runs = start_sweep(tracker, "sweep-x")
    tell(runs, record(12, "failed"))
    tell(runs, record(1, "asha"))
    assert explained(tracker, 1) == ["trial 1 of sweep-x was stopped by ASHA"]


def test_the_newest_sweep_tells(tracker: Tracker) -> None:
    tell(start_sweep(tracker, "newer", at=2_000), record(1, "asha"))
    older = Tracker(tracker.uri, tracker.experiment)
    tell(start_sweep(older, "older", at=1_000), record(1, "failed"))
    tell(start_sweep(older, "older", at=1_000), record(2, "failed"))
    older.close(timeout=DEADLINE)
    assert explained(tracker, 1) == ["trial 1 of newer was stopped by ASHA"]
    with pytest.raises(UsageError, match="newer, of 32 trials"):
        explained(tracker, 2)


def test_a_sweep_whose_search_had_finished_before_tells_of_that_ones_trials(tracker: Tracker) -> None:
    searching = Tracker(tracker.uri, tracker.experiment)
    tell(start_sweep(searching, "searching", at=1_000), record(5, "asha"))
    searching.start_run("stage/search", "search", SWEEP_RUN, {"pipeline.kind": "stage", "pipeline.stage": "search"})
    searched = searching.run_id("stage/search")
    searching.close(timeout=DEADLINE)
    start_sweep(tracker, "confirming", at=2_000)
    tracker.log(SWEEP_RUN, tags={"pipeline.cached.search": searched})
    assert explained(tracker, 5) == ["trial 5 of confirming was stopped by ASHA"]


def test_without_a_sweep_it_is_refused(tracker: Tracker) -> None:
    tracker.start_run("train", "train-x", tags={"pipeline.kind": "train"})
    with pytest.raises(UsageError, match=rf"^--why is 3, but experiment {tracker.experiment} holds no sweep$"):
        explained(tracker, 3)
    with pytest.raises(UsageError, match=r"^--why is 3, but experiment vit-nowhere holds no sweep$"):
        explain(tracker.client, "vit-nowhere", 3)


def test_a_trial_that_has_not_begun_is_refused(tracker: Tracker) -> None:
    tell(start_sweep(tracker, "sweep-x"), record(1, "asha"))
    with pytest.raises(UsageError, match=r"^--why is 99, but sweep-x, of 32 trials, has not begun such a trial$"):
        explained(tracker, 99)


def test_all_decisions_stand_in_a_table(tracker: Tracker, tmp_path: Path) -> None:
    tracker.start_run(SWEEP_RUN, "sweep-x")
    records = [record(5, "asha", PASSED, STOPPED), record(2, "failed"), record(1, "finished", FIRST)]
    log_decisions(tracker, SWEEP_RUN, [TrialResult.of(each, "run") for each in records])
    copy = tracker.client.download_artifacts(tracker.run_id(SWEEP_RUN), DECISIONS_FILE, str(tmp_path))
    with Path(copy).open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["trial", "epoch", "accuracy", "cutoff", "rank", "of", "go_on"],
            ["1", "1", "0.5", "", "1", "1", "True"],
            ["5", "1", "0.6123", "0.5", "2", "7", "True"],
            ["5", "3", "0.4", "0.46667", "9", "10", "False"],
        ]
