"""What a plan is made from: a real session, its cluster given by hand."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.config import SweepConfig
from pipeline.planning.forecast import sweep_plan
from pipeline.session import sweep_session
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from vit.data.dataset import DataConfig


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
    """Two whole GPUs, where they are asked for."""
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


def test_a_plan_has_the_workers_of_a_trial(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.0, concurrent=2, workers=3)
    assert sweep_plan(session).workers == 3
