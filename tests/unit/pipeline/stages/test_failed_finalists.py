"""Tests what follows if some full-length trainings fail, or diverge, which they would do again."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cluster.allotment import Allotment
from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel, FullLengthRun
from pipeline.results.stage_outputs import Confirmed, Prepared, Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import baseline, confirm, sweep_graph
from pipeline.stages.full_length_trainings import Configuration, _model
from pipeline.trials.records import BestEpoch, Outcome, TrialRecord, TrialResult
from vit.data.normalisation import Normalisation

PREPARED = Prepared(Normalisation((0.5,), (0.25,)), "fp32", duplicates=0, validation_duplicates=0)


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


def trained(
    session: SweepSession, index: int, runs: int, error: str | None, has_failed: bool = False
) -> ConfirmedModel:
    """Returns a trial with as many finished trainings, of 90% each."""
    finished = tuple(
        FullLengthRun(seed, BestEpoch(1, 0.9, 1.0), f"run-{seed}", "folder", "sha256:0") for seed in range(runs)
    )
    return ConfirmedModel(session.specs[index], None, finished, error, has_failed)


@pytest.fixture
def baseline_of(session: SweepSession, monkeypatch: pytest.MonkeyPatch) -> Callable[[ConfirmedModel], ConfirmedModel]:
    """The stage `baseline`, for a published configuration whose trainings have ended as given."""
    session._allotment = Allotment(1, 0, concurrent=1)

    def run(published: ConfirmedModel) -> ConfirmedModel:
        monkeypatch.setattr(session, "share", lambda data: None)
        monkeypatch.setattr(baseline, "train_to_full_length", lambda *_, **more: [published])
        return baseline.train_baseline(session, PREPARED)

    return run


def test_a_published_configuration_that_diverges_with_one_seed_is_compared_and_cannot_win(
    session: SweepSession, baseline_of: Callable[[ConfirmedModel], ConfirmedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = baseline_of(trained(session, 0, 1, "seed 1 diverged"))
    finalist = trained(session, 1, 2, None)
    monkeypatch.setattr(confirm, "train_to_full_length", lambda *_: [finalist])
    results = [
        TrialResult(session.specs[index], "finished", BestEpoch(1, 0.5, 1.0), 1, 1.0, (), "run") for index in (0, 1)
    ]
    found = confirm.confirm_finalists(session, PREPARED, Searched(tuple(results), "fp32"), published)
    assert [(model.index, model.error) for model in found.models] == [(1, None), (0, "seed 1 diverged")]
    assert found.models[1].val_accuracies == [0.9]
    finalist = trained(session, 1, 0, "both diverged")
    with pytest.raises(PipelineError, match=r"^no configuration could be trained with all seeds: "):
        confirm.confirm_finalists(session, PREPARED, Searched(tuple(results), "fp32"), published)


def test_a_published_configuration_without_a_training_or_with_one_that_failed_ends_the_stage(
    session: SweepSession, baseline_of: Callable[[ConfirmedModel], ConfirmedModel]
) -> None:
    with pytest.raises(PipelineError, match=r"^the published configuration: both diverged \(it may not with another"):
        baseline_of(trained(session, 0, 0, "both diverged"))
    with pytest.raises(PipelineError, match=r"^the published configuration: its process died$"):
        baseline_of(trained(session, 0, 1, "its process died", has_failed=True))
