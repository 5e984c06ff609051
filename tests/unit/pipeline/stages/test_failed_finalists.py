"""Tests that the same command retrains finalists that failed, but not those that diverged, which would do so again."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.results.confirmation import ConfirmedModel
from pipeline.results.stage_outputs import Confirmed
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import sweep_graph
from pipeline.stages.full_length_trainings import Configuration, _model
from pipeline.trials.records import Outcome, TrialRecord


def confirmed_as(session: SweepSession, outcome: Outcome) -> ConfirmedModel:
    """Returns trial 1 after its only training ended with this outcome."""
    training: Any = SimpleNamespace(name="trial-01-seed-0")
    return _model(
        Configuration(session.specs[1], 0.5),
        [(training, TrialRecord(session.specs[1], outcome, (), "its process died"))],
    )


@pytest.mark.parametrize(("outcome", "reason"), [("failed", "a training of trial 1 failed"), ("diverged", None)])
def test_only_what_failed_has_the_stage_run_again(session: SweepSession, outcome: Outcome, reason: str | None) -> None:
    model = confirmed_as(session, outcome)
    assert model.error == f"trial-01-seed-0 {outcome}: its process died"
    sound = ConfirmedModel(session.specs[0], None, ())
    stage = sweep_graph(session)["confirm"]
    assert stage.misfit(Confirmed((sound, model))) == reason
    assert stage.misfit(Confirmed((sound,))) is None
