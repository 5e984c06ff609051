"""Stage `register`: registers the winner as the challenger in the model registry."""

from pipeline.registry.passport import Origin
from pipeline.registry.registration import register
from pipeline.results.confirmation import winner_of
from pipeline.results.stage_outputs import Confirmed, Evaluated, Registered
from pipeline.session.passport import make_passport
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.full_length_trainings import spec_with_seed
from pipeline.tracking.trial_runs import SWEEP_RUN


def register_winner(session: SweepSession, confirm: Confirmed, evaluate: Evaluated) -> Registered:
    """Registers the winner's best training as the challenger."""
    winner = winner_of(confirm.models)
    run = winner.best_run
    sweep_run_id = session.tracker.run_id(SWEEP_RUN)
    origin = Origin(session.command_line, run.run_id, sweep_run_id, winner.index, run.seed)
    spec = spec_with_seed(winner.spec, session.config.seed, run.seed)
    passport = make_passport(session, origin, spec, session.precision, run, evaluate.scores[run.run_id])
    weights, example = session.find_weights(winner.index, run), session.dataset.validation.images[:2]
    version = register(session.tracker.client, passport, weights, example, session.config.export == "onnx")
    return Registered(version, run.run_id)
