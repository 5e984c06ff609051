"""Stage `baseline`: the published configuration at full length, beside the search."""

from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel
from pipeline.results.stage_outputs import Prepared
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.full_length_trainings import Configuration, train_to_full_length
from pipeline.stages.prepare import training_data
from pipeline.trials.observers import Observer
from tune_spaces.trial_spec import TrialSpec


def train_baseline(session: SweepSession, prepare: Prepared) -> ConfirmedModel:
    """Leaves the search all slots but one, and that one too once it is done."""
    try:
        published, data = [Configuration(session.specs[0], None)], training_data(session, prepare)
        observers = [_SignalsBaselineStart(session)]
        (model,) = train_to_full_length(session, published, data, session.precision, at_once=1, observers=observers)
    finally:
        session.release_baseline_slots()
    if model.error is not None:
        raise PipelineError(f"the published configuration: {model.error}")
    return model


class _SignalsBaselineStart(Observer):
    """Lets a search begin that waits for the baseline to get its GPUs: its workers have come up, and hold them."""

    def __init__(self, session: SweepSession) -> None:
        self._session = session

    def workers_started(self, spec: TrialSpec) -> None:
        self._session.baseline_trains.set()
