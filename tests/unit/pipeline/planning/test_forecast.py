"""Tests of what `--plan` reports, with a real session and a made-up cluster."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.config import Budget, SweepConfig
from pipeline.graph.graph import Graph
from pipeline.graph.plan import GraphPlan
from pipeline.graph.reuse import Remembered, ReuseDecision
from pipeline.graph.stage import Identity
from pipeline.planning import forecast as forecasting
from pipeline.planning.cost import Calibration, TimedModel
from pipeline.planning.estimate import sweep_estimate
from pipeline.planning.forecast import Forecast, forecast_lines, forecast_sweep, forecast_values, sweep_plan
from pipeline.session import sweep_session
from pipeline.session.folder import FINALISTS_FOLDER, TRIALS_FOLDER
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from pipeline.trials.folder import TrialLedger, trial_folder
from vit.data.dataset import DataConfig
from vit.files.storage import Folder
from vit.timing.step_times import StepTimes


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SweepSession]:
    folder = tmp_path_factory.mktemp("forecast")
    config = SweepConfig(
        data=DataConfig("digits", train_limit=50), storage=str(folder), tracking_uri=f"sqlite:///{folder}/mlflow.db",
        trials=5,
    )  # fmt: skip
    with open_session(SweepSession, config, Console(quiet=True)) as session:
        yield session
        session.tracker.close()


@pytest.fixture
def session(opened: SweepSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[SweepSession]:
    """A session whose cluster has room for two trainings where whole GPUs are requested."""
    monkeypatch.setattr(sweep_session, "allot", lambda *request: Allotment(1, 1.0, concurrent=2))
    yield opened
    opened.release_baseline_slots()


@pytest.mark.parametrize(
    ("gpus", "concurrent", "final_concurrent"), [(0.0, 6, 6), (1.0, 2, 2), (0.5, 4, 2), (0.3, 6, 2), (0.25, 8, 2)]
)
def test_a_plan_has_the_slots_that_the_stages_will_have(
    session: SweepSession, gpus: float, concurrent: int, final_concurrent: int
) -> None:
    session._allotment = Allotment(1, gpus, concurrent)
    plan = sweep_plan(session)
    assert (plan.concurrent, plan.final_concurrent) == (concurrent, final_concurrent)
    session.hold_slots_for_baseline()
    assert plan.held == session.slots_held


STAGES = ["prepare", "search", "baseline", "confirm", "evaluate", "register", "report"]


def planned(*running: str) -> GraphPlan:
    """Returns a plan in which these stages run, and all others have finished before."""
    found = Remembered("run", 0.0, Identity({}, {}, {}), None)
    return GraphPlan(Graph([]), {stage: ReuseDecision("", None if stage in running else found) for stage in STAGES})


def calibration_of(session: SweepSession) -> Calibration:
    """Returns a calibration by which a step of the published configuration takes a second."""
    return Calibration((TimedModel(session.specs[0].model, StepTimes(1.0, 50, 0.01)),), 2.0, "fp32")


@pytest.fixture
def forecast(session: SweepSession, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Forecast]:
    """Returns a function that forecasts what the sweep would take in two slots if only the given stages ran."""
    monkeypatch.setattr(forecasting, "connected", lambda address: nullcontext())
    monkeypatch.setattr(forecasting, "calibrate", calibration_of)
    session._allotment, session._precision = Allotment(1, 0.0, concurrent=2), "fp32"
    return lambda *running: forecast_sweep(session, planned(*running))


def test_the_stages_that_run_have_their_times_and_the_search_that_of_the_baseline(
    forecast: Callable[..., Forecast],
) -> None:
    assert list(forecast(*STAGES).spans) == ["start", "prepare", "search", "confirm", "evaluate", "register", "report"]
    assert list(forecast("register", "report").spans) == ["start", "register", "report"]


def test_a_baseline_without_a_search_has_a_time_of_its_own(forecast: Callable[..., Forecast]) -> None:
    """This happens with `--seeds 3` after a sweep that has finished."""
    running = ("baseline", "confirm", "evaluate", "register", "report")
    later, without = forecast(*running), forecast(*running[1:])
    assert list(later.spans) == ["start", *running]
    alone = later.estimate.baseline.expected
    assert later.total.expected == pytest.approx(without.total.expected + alone)
    assert forecast_values(planned(*running), later)["seconds"]["baseline"] == {"expected": alone, "worst": alone}


def test_a_search_without_the_baseline_has_all_slots(forecast: Callable[..., Forecast]) -> None:
    """This happens with `--trials 48` after a sweep of 32 that has finished."""
    assert forecast("search", "confirm").plan.held == 0
    assert forecast("search", "baseline").plan.held == 1


def lines(session: SweepSession, forecast: Forecast, *running: str) -> list[str]:
    return forecast_lines(session, planned(*running), forecast)


@pytest.fixture
def left_behind(session: SweepSession) -> Iterator[None]:
    """An earlier command ended two of five trials and one training of the baseline; a third trial is unfinished."""
    for index, outcome in ((0, "finished"), (1, None), (3, "asha")):
        TrialLedger(session.specs[index].to_dict(), outcome=outcome).write(trial_folder(session.trials_folder, index))
    finalist = f"{session.folder}/{FINALISTS_FOLDER}/0"
    TrialLedger(session.specs[0].to_dict(), outcome="finished").write(trial_folder(finalist, 0))
    yield
    for name in (TRIALS_FOLDER, FINALISTS_FOLDER):
        Folder(session.folder).remove_folder(name)


@pytest.mark.usefixtures("left_behind")
def test_trials_that_have_ended_take_no_time_and_the_plan_says_so(
    session: SweepSession, forecast: Callable[..., Forecast]
) -> None:
    running = ("search", "confirm")
    later = forecast(*running)
    assert later.plan.ended == {0, 3}
    of_all = sweep_estimate(calibration_of(session), replace(later.plan, ended=frozenset()))
    assert later.spans["search"].worst < of_all.stages["search"].worst
    said = lines(session, later, *running)
    assert "already ended: 2 of the 5 trials; the time leaves them out, all else counts them" in said
    assert "the time still includes what is already trained of baseline, finalists and audit" in said


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("running", [("search",), ("evaluate", "register", "report")])
def test_it_says_nothing_of_what_does_not_run(
    session: SweepSession, forecast: Callable[..., Forecast], running: tuple[str, ...]
) -> None:
    said = "\n".join(lines(session, forecast(*running), *running))
    assert ("already ended" in said) == ("search" in running)
    assert "the time still includes" not in said


def test_it_counts_the_epochs_of_the_stages_that_run(session: SweepSession, forecast: Callable[..., Forecast]) -> None:
    """The full length is 45 epochs; the baseline has two trainings of that length, and the two finalists have four."""

    def said(*running: str) -> list[str]:
        starts = ("rungs ", "epochs: ", "disk: ", "MLflow: ")
        return [line for line in lines(session, forecast(*running), *running) if line.startswith(starts)]

    rungs, epochs, *sizes = said(*STAGES)
    assert rungs.startswith("rungs (epoch: trials expected to reach it): 3: 5, ")
    assert epochs.endswith(" expected in the search, 225 if nothing is stopped; 270 of baseline and finalists")
    assert [line.partition(": ")[0] for line in sizes] == ["disk", "MLflow"]
    assert not any("included" in line for line in sizes)
    only_search = said("search")
    assert only_search[1].endswith(" expected in the search, 225 if nothing is stopped")
    for running, counted in {
        ("baseline", "confirm", "evaluate"): ["epochs: 270 of baseline and finalists"],
        ("confirm",): ["epochs: 180 of finalists"],
        ("evaluate", "register", "report"): [],
    }.items():
        told = said(*running)
        assert told[:-2] == counted
        assert all(line.endswith(", what has finished included") for line in told[-2:])


def test_within_a_budget_the_plan_has_the_trials_that_are_expected_to_fit(
    session: SweepSession, forecast: Callable[..., Forecast], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(seconds=60.0, deadline=0.0, trials=3, finalists_seconds=1.0, fixed_seconds=1.0)
    monkeypatch.setattr(session, "config", replace(session.config, budget=budget))
    assert [spec.index for spec in forecast(*STAGES).plan.specs] == [0, 1, 2]


def test_it_says_nothing_where_nothing_is_trained(session: SweepSession, forecast: Callable[..., Forecast]) -> None:
    said = "\n".join(lines(session, forecast(*STAGES), *STAGES))
    assert "already ended" not in said
    assert "the time still includes" not in said


def test_a_plan_has_the_workers_of_a_trial(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.0, concurrent=2, workers=3)
    assert sweep_plan(session).workers == 3
