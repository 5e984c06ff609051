"""Tests that the stage `evaluate` ends only when the runs of the models have its files."""

import numpy as np
import pytest
import torch

from pipeline.graph.runner import StageRecord
from pipeline.results.confirmation import ConfirmedModel, FullLengthRun
from pipeline.results.stage_outputs import Confirmed
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import evaluate
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.training.evaluation import TestResult
from pipeline.trials.predictions import PREDICTIONS_FILE, Predictions
from pipeline.trials.records import BestEpoch
from vit.training.metrics import Counts


def test_its_predictions_are_recorded_before_it_ends(session: SweepSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that has ended is not run again, so a command that ended then, or died, would never record them."""
    labels = session.dataset.test.labels
    confusion = torch.diag(torch.bincount(torch.from_numpy(labels), minlength=10))
    result = TestResult(Counts(1.0, confusion), Predictions.of(labels, np.eye(10)[labels]))
    monkeypatch.setattr(evaluate, "evaluate_on_test", lambda *_: [result])
    monkeypatch.setattr(session, "find_weights", lambda *_: None)
    monkeypatch.setattr(type(session), "final_allotment", None)
    tracker = session.tracker
    tracker.start_run(SWEEP_RUN, "sweep")
    tracker.start_run("finalist/0/0", "published-seed-0", SWEEP_RUN)
    tracker.start_run("stage/evaluate", "evaluate", SWEEP_RUN)
    session.stage_records["evaluate"] = StageRecord("evaluate", ("confirm",), "run", "", None, key="stage/evaluate")
    run_id = tracker.run_id("finalist/0/0")
    run = FullLengthRun(0, BestEpoch(1, 0.9, 1.0), run_id, "folder", "sha256:0")

    evaluated = evaluate.evaluate_on_test_images(session, Confirmed((ConfirmedModel(session.specs[0], None, (run,)),)))
    tracker.flush()
    assert evaluated.scores[run_id].accuracy == 1.0
    folder, _, name = PREDICTIONS_FILE.rpartition("/")
    assert [file.path for file in tracker.client.list_artifacts(run_id, folder)] == [f"{folder}/{name}"]
