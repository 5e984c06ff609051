"""Tests of which runs of a search may be deleted before it counts as lost, in a real SQLite store."""

import pytest

from pipeline.results.stage_outputs import Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import sweep_graph
from pipeline.tracking.weights import ARTIFACTS
from pipeline.trials.records import BestEpoch, Outcome, TrialResult
from vit.files.storage import CONFIG_FILE, WEIGHTS_FILE

OUTCOMES: tuple[Outcome, ...] = ("finished", "asha", "asha", "diverged")
"""Of the trials, the best first: the published configuration, the only finalist, and two more."""


@pytest.fixture
def searched(session: SweepSession) -> Searched:
    """Returns the result of a search whose trials each have a run with their weights."""
    client = session.tracker.client
    experiment = client.get_experiment_by_name(session.tracker.experiment)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(session.tracker.experiment)
    results = []
    for spec, outcome in zip(session.specs, OUTCOMES, strict=False):
        run_id = client.create_run(experiment_id).info.run_id
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            client.log_text(run_id, name, f"{ARTIFACTS}/{name}")
        results.append(TrialResult(spec, outcome, BestEpoch(1, 0.5, 1.0), 1, 1.0, (), run_id))
    return Searched(tuple(results), "fp32")


@pytest.mark.parametrize(("deleted", "is_lost"), [((), False), ((0, 2, 3), False), ((1,), True)])
def test_only_the_finalists_have_to_be_there(
    session: SweepSession, searched: Searched, deleted: tuple[int, ...], is_lost: bool
) -> None:
    """Deleting the runs of the other trials must not make the whole search run again."""
    for index in deleted:
        session.tracker.client.delete_run(searched.ranked[index].run_id)
    expected = f"run {searched.ranked[1].run_id[:8]}" if is_lost else None
    assert sweep_graph(session)["search"].missing(searched) == expected
