"""Runs trials, for the stages `search` and `audit`."""

from dataclasses import replace

from pipeline.errors import InterruptedCommandError
from pipeline.planning.deadline import Deadline
from pipeline.search.driver import SearchLimits, Suggest
from pipeline.search.search import Search
from pipeline.search.tuner import run_search
from pipeline.session.fusing import fusing_of
from pipeline.session.sweep_session import SweepSession
from pipeline.terminal.progress import Progress
from pipeline.tracking.trial_runs import TrialRuns
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData
from pipeline.trials.records import TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


def run_trials(
    session: SweepSession,
    kind: type[TrialRuns],
    folder: str,
    specs: list[TrialSpec],
    rungs: Rungs,
    data: SharedData,
    deadline: Deadline | None = None,
    suggest: Suggest | None = None,
) -> list[TrialRecord]:
    """Runs the trials to their ends under `folder`, each with an MLflow run of the given kind; returns their records.

    With `suggest`, that chooses each trial, and `specs` only says how many trials there are.

    Raises:
        InterruptedCommandError: the user wants to stop; the trials that have ended stay in MLflow.
        PipelineError: the disk is full or the storage is away.
    """
    runs = kind(session.tracker, session.artifacts, folder, session.dataset_reference, session.dataset.class_names)
    search = Search(
        specs,
        data,
        TrainingContext(folder, session.precision, session.config.compile, session.allotment.gpus),
        rungs,
        session.allotment,
        session.tune_folder,
        session.ray_train_folder,
        session.config.max_failures,
        suggest,
        fusing_of(session.config),
    )
    limits = SearchLimits(lambda: session.free_slots)
    if deadline is not None:
        limits = replace(limits, may_begin=deadline.leaves_time_to_begin, may_go_on=deadline.leaves_time_to_go_on)
    try:
        budget_seconds = deadline.seconds_left if deadline else None
        with Progress(session.console, len(specs), rungs, budget_seconds) as progress:
            observers = [runs, progress, session.watchdog, *([deadline] if deadline else [])]
            trials = run_search(search, observers, lambda: session.interrupt.requested, limits)
    finally:
        session.artifacts.finish()  # the runs of ended trials are completed, even if an error ends the others
    if session.interrupt.requested:
        done = sum(trial.outcome != "interrupted" for trial in trials)
        raise InterruptedCommandError(f"interrupted: {done} of {len(specs)} trials had ended; they stay in MLflow")
    return trials
