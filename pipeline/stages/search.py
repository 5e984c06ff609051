"""Stage `search`: runs the trials, which ASHA stops early if they are weak."""

from pipeline.errors import PipelineError
from pipeline.planning.deadline import Deadline, FullLengthTrainings
from pipeline.results.leaderboard import leaderboard
from pipeline.results.stage_outputs import Prepared, Searched
from pipeline.search.decisions import log_decisions
from pipeline.search.driver import Suggest
from pipeline.search.suggestions import TpeSuggestions
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.prepare import training_data
from pipeline.stages.running_trials import run_trials
from pipeline.tracking.trial_runs import SWEEP_RUN, TrialRuns, trial_key
from pipeline.trials.records import TrialRecord, TrialResult


def search_configurations(session: SweepSession, prepare: Prepared) -> Searched:
    """Runs the trials, as many at the same time as there are slots; within a budget, only those that fit into it."""
    specs = session.specs
    up_to = "" if session.config.budget is None else "up to "
    session.say(
        f"search: {up_to}{len(specs)} trials of space {session.space.name}, at most {session.rungs.max_epochs} "
        f"epochs, rungs {session.rungs.epochs}, {session.allotment.concurrent} at once, {session.precision}"
    )
    session.wait_for_baseline()
    data, deadline = training_data(session, prepare), _deadline(session)
    folder, suggest = session.trials_folder, _suggestions(session)
    trials = run_trials(session, TrialRuns, folder, specs, session.rungs, data, deadline, suggest)
    _say_what_the_budget_left_out(session, trials)
    return _searched(session, leaderboard(trials))


def _say_what_the_budget_left_out(session: SweepSession, trials: list[TrialRecord]) -> None:
    stopped = [trial.index for trial in trials if trial.outcome == "budget"]
    if stopped:
        session.say(f"search: the budget's time is over; stopped before their end: {', '.join(map(str, stopped))}")
    if len(trials) < len(session.specs):
        session.say(f"search: the budget left no time for {len(session.specs) - len(trials)} of the trials")


def _suggestions(session: SweepSession) -> Suggest | None:
    """Chooses each trial from the results of those before it; None if all trials are drawn in advance."""
    if session.config.search == "random":
        return None
    return TpeSuggestions(session.space, session.dataset.shape, session.rungs.max_epochs, session.config.seed)


def _deadline(session: SweepSession) -> Deadline | None:
    config = session.config
    if config.budget is None:
        return None
    return Deadline(
        config.budget, FullLengthTrainings(config.finalists, config.seeds, session.final_allotment.concurrent)
    )


def _searched(session: SweepSession, trials: list[TrialRecord]) -> Searched:
    best = trials[0].best  # there is always at least the published configuration
    if best is None:
        reasons = sorted({trial.error or trial.outcome for trial in trials})
        raise PipelineError(f"no trial completed an epoch: {'; '.join(reasons)}")
    results = tuple(TrialResult.of(trial, session.tracker.run_id(trial_key(trial.index))) for trial in trials)
    log_decisions(session.tracker, SWEEP_RUN, results)
    session.say(f"search: best is trial {trials[0].index}, validation {best.accuracy:.2%}")
    return Searched(results, session.precision)
