"""Stage `confirm`: retrains the best trials with several seeds, before one of them is trusted."""

from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel, ranked
from pipeline.results.leaderboard import choose_finalists
from pipeline.results.stage_outputs import Confirmed, Prepared, Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.full_length_trainings import Configuration, train_to_full_length
from pipeline.stages.prepare import training_data
from pipeline.trials.records import TrialResult


def confirm_finalists(
    session: SweepSession, prepare: Prepared, search: Searched, baseline: ConfirmedModel
) -> Confirmed:
    """Retrains the finalists and ranks them together with the published configuration.

    The best of many trials owes part of its result to luck, so here it has to win once more.

    Raises:
        PipelineError: no configuration could be trained with all seeds.
    """
    finalists = choose_finalists(search.ranked, session.config.finalists)
    configurations = [Configuration(trial.spec, _accuracy(trial)) for trial in finalists]
    session.wait_for_audit()
    at_once = session.final_allotment.concurrent
    seeds = "1 seed" if session.config.seeds == 1 else f"{session.config.seeds} seeds"
    session.say(
        f"confirm: trials {', '.join(str(trial.index) for trial in finalists) or 'none'} to their full length with "
        f"{seeds} each, {at_once} at once"
    )
    models = train_to_full_length(session, configurations, training_data(session, prepare), search.precision, at_once)
    published_trial = next(trial for trial in search.ranked if trial.index == 0)
    published = ConfirmedModel(baseline.spec, _accuracy(published_trial), baseline.runs, baseline.error)
    best, *others = ranked([published, *models])
    if best.error is not None:
        raise PipelineError(f"no configuration could be trained with all seeds: {best.error}")
    return Confirmed((best, *others))


def _accuracy(trial: TrialResult) -> float | None:
    return trial.best.accuracy if trial.best else None
