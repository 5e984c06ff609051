"""Stage `baseline`: the published configuration at full length, beside the search."""

from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel
from pipeline.results.stage_outputs import Prepared
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.finalists import Candidate, train_finalists
from pipeline.stages.prepare import training_data
from pipeline.trials.observers import Observer
from tune_spaces.space import TrialSpec


def train_baseline(session: SweepSession, prepare: Prepared) -> ConfirmedModel:
    """Leaves the search all slots but one, and that one too once it is done."""
    try:
        candidate, data = Candidate(session.specs[0], None), training_data(session, prepare)
        observer = _HasItsWorkers(session)
        (model,) = train_finalists(session, [candidate], data, session.precision, at_once=1, observers=[observer])
    finally:
        session.release_baseline_slots()
    if model.error is not None:
        raise PipelineError(f"the published configuration: {model.error}")
    return model


class _HasItsWorkers(Observer):
    """Lets a search begin that waits for the baseline to get its GPUs."""

    def __init__(self, session: SweepSession) -> None:
        self._session = session

    def workers_started(self, spec: TrialSpec) -> None:
        self._session.baseline_trains.set()
