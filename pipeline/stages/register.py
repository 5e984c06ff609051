"""Stage `register`: the winner becomes the challenger in the registry."""

from pipeline.registry.versions import TestFigures, register
from pipeline.results.confirmation import winner_of
from pipeline.results.stage_outputs import Confirmed, Evaluated
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import SWEEP_RUN


def register_winner(session: SweepSession, confirm: Confirmed, evaluate: Evaluated) -> int:
    """Registers the winner's best training as the challenger; gives the version."""
    winner = winner_of(confirm.models)
    run = winner.best_run
    score = evaluate.scores[run.run_id]
    measured = TestFigures(session.dataset.test_digest, score.correct, score.total, run.best.accuracy)
    tags = {
        **session.version_tags,
        "pipeline.trial": str(winner.index),
        "pipeline.confirm_seed": str(run.seed),
        "pipeline.sweep_run_id": session.tracker.run_id(SWEEP_RUN),
    }
    description = (
        f"trial {winner.index} of sweep {session.name}, seed {run.seed}: validation {run.best.accuracy:.2%}, "
        f"test {score.accuracy:.2%} ({score.correct} of {score.total})"
    )
    example = session.dataset.validation.images[:2]
    weights = session.find_weights(winner.index, run)
    client = session.tracker.client
    return register(client, session.model_name, run.run_id, weights, example, measured, tags, description)
