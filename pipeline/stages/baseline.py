"""Stage `baseline`: trains the published configuration to its full length, in parallel with the search."""

from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel
from pipeline.results.stage_outputs import Prepared
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.full_length_trainings import Configuration, train_to_full_length
from pipeline.stages.prepare import training_data
from pipeline.trials.observers import Observer
from tune_spaces.trial_spec import TrialSpec


def train_baseline(session: SweepSession, prepare: Prepared) -> ConfirmedModel:
    """Trains the published configuration; once that has ended, gives the baseline's slots to the search.

    If it diverges with some of the seeds, the others are what the winner is compared with.

    Raises:
        PipelineError: a training failed, which the same command tries again, or all diverged.
    """
    try:
        published, data = [Configuration(session.specs[0], None)], training_data(session, prepare)
        observers = [_SignalsBaselineStart(session)]
        (model,) = train_to_full_length(session, published, data, session.precision, at_once=1, observers=observers)
    finally:
        session.release_baseline_slots()
    if model.has_failed or not model.runs:
        advice = "" if model.has_failed else " (it may not with another --seed)"
        raise PipelineError(f"the published configuration: {model.error}{advice}")
    return model


class _SignalsBaselineStart(Observer):
    """Signals that the baseline's workers hold their GPUs, so that a search that waits for this can begin."""

    def __init__(self, session: SweepSession) -> None:
        self._session = session

    def workers_started(self, spec: TrialSpec) -> None:
        self._session.baseline_trains.set()
