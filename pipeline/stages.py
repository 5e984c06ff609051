"""The stages of a sweep, in the order of its story. Each takes the session and its inputs' outputs."""

import os
import time
from functools import partial
from typing import Any

from pipeline.dag import Graph, Stage
from pipeline.evaluation import evaluate_on_test, record_test
from pipeline.exits import InterruptedCommandError, PipelineError
from pipeline.outputs import Evaluated, Prepared, Searched
from pipeline.precision import precision_of
from pipeline.progress import Progress
from pipeline.ranking import leaderboard
from pipeline.registry import Measured, register
from pipeline.report import record_summary, summarise
from pipeline.search import Search, run_search
from pipeline.sweep_session import SweepSession
from pipeline.training import TrainingContext, TrainingData
from pipeline.trial_folder import trial_folder
from pipeline.trial_runs import SWEEP_RUN, TrialRuns, trial_key
from pipeline.watchdog import Watchdog
from vit.augment import measure_normalisation
from vit.data import duplicates_across_splits
from vit.recipes import published


def sweep_graph(session: SweepSession) -> Graph:
    return Graph(
        [
            Stage("prepare", (), partial(prepare, session)),
            Stage("search", ("prepare",), partial(search, session)),
            Stage("evaluate", ("search",), partial(evaluate, session)),
            Stage("register", ("search", "evaluate"), partial(register_winner, session)),
            Stage("report", ("prepare", "search", "evaluate", "register"), partial(report, session)),
        ]
    )


def execute(session: SweepSession, stage: Stage, inputs: list[Any]) -> Any:
    """Runs a stage, times it and writes its run."""
    started = time.time()
    key = f"stage/{stage.name}"
    tags = {"pipeline.kind": "stage", "pipeline.stage": stage.name}
    session.tracker.start_run(key, stage.name, SWEEP_RUN, tags)
    output = stage.run(*inputs)
    session.seconds[stage.name] = time.time() - started
    session.tracker.log(key, {"seconds": session.seconds[stage.name]})
    session.tracker.end_run(key, "FINISHED")
    return output


def prepare(session: SweepSession) -> Prepared:
    data = session.dataset
    size = f"{data.img_size}x{data.img_size}x{data.in_chans}"
    session.say(
        f"prepare: {data.name} from {data.source}: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test images of {size}, {data.num_classes} classes"
    )
    duplicates = duplicates_across_splits(data)
    if duplicates:
        session.say(f"warning: {duplicates} test images also stand in train or validation")
    return Prepared(measure_normalisation(data.train.images), duplicates)


def search(session: SweepSession, prepared: Prepared) -> Searched:
    config, data, specs = session.config, session.dataset, session.specs
    model, recipe = published(data.shape, session.rungs.max_epochs)
    with Watchdog(config.stall_minutes, session.say):
        precision = precision_of(session, model, recipe, session.allotment)
    session.say(
        f"search: {len(specs)} trials of space {session.space.name}, at most {session.rungs.max_epochs} epochs, rungs "
        f"{session.rungs.epochs}, {session.allotment.concurrent} at once, {precision}"
    )
    runs = TrialRuns(
        session.tracker, session.artifacts, session.trials_folder, session.dataset_reference, data.class_names
    )
    # Written past the console: a signal may come in the middle of another line's writing.
    acknowledge = partial(os.write, 1, b"stopping at the end of the epoch (once more: at once)\n")
    with (
        session.interrupt.deferred(acknowledge),
        Progress(session.console, len(specs), session.rungs) as progress,
        Watchdog(config.stall_minutes, session.say) as watchdog,
    ):
        what = Search(
            specs,
            TrainingData(data.train, data.validation, prepared.normalisation, data.class_names),
            TrainingContext(session.trials_folder, precision, config.compile),
            session.rungs,
            session.allotment,
            session.folder,
            config.max_failures,
        )
        try:
            trials = run_search(what, [runs, progress, watchdog], lambda: session.interrupt.requested)
        except PipelineError:
            session.artifacts.finish()  # what has ended has ended, whatever ends the others
            raise
    if session.interrupt.requested:
        session.artifacts.finish()
        done = sum(trial.outcome != "interrupted" for trial in trials)
        raise InterruptedCommandError(f"interrupted: {done} of {len(specs)} trials had ended; they stay in MLflow")
    ranked = leaderboard(trials)
    if not ranked or ranked[0].best is None:
        reasons = sorted({trial.error or trial.outcome for trial in trials})
        raise PipelineError(f"no trial completed an epoch: {'; '.join(reasons)}")
    return Searched(ranked, precision)


def evaluate(session: SweepSession, searched: Searched) -> Evaluated:
    indices = [searched.winner.index]
    if searched.baseline and searched.baseline is not searched.winner:
        indices.append(searched.baseline.index)
    with Watchdog(session.config.stall_minutes, session.say):
        results = evaluate_on_test(indices, session.trials_folder, session.dataset.test, session.allotment)
    for result in results:
        record_test(session, result, f"trial {result.trial}")
    return Evaluated(results[0], results[-1] if searched.baseline else None)


def register_winner(session: SweepSession, searched: Searched, evaluated: Evaluated) -> int:
    """Registers the winner as the challenger; gives the version."""
    winner, counts = searched.winner, evaluated.winner.counts
    best = winner.best
    assert best is not None  # the search raises where no trial has one
    measured = Measured(session.dataset.test_digest, counts.correct, counts.total, best.accuracy)
    tags = {
        "pipeline.dataset": session.dataset.name,
        "pipeline.data_digest": session.dataset.digest,
        "pipeline.trial": str(winner.index),
        "pipeline.sweep_run_id": session.tracker.run_id(SWEEP_RUN),
    }
    run_id = session.tracker.run_id(trial_key(winner.index))
    folder = trial_folder(session.trials_folder, winner.index)
    example = session.dataset.validation.images[:2]
    description = (
        f"trial {winner.index} of sweep {session.name}: validation {best.accuracy:.2%}, test {counts.accuracy:.2%}"
        f" ({counts.correct} of {counts.total})"
    )
    return register(session.tracker.client, session.model_name, run_id, folder, example, measured, tags, description)


def report(
    session: SweepSession, prepared: Prepared, searched: Searched, evaluated: Evaluated, version: int
) -> dict[str, Any]:
    """Records the summary; gives it as plain values."""
    session.artifacts.finish()
    summary = summarise(session, searched, evaluated, version)
    summary["dataset"]["test_images_also_in_train"] = prepared.duplicates
    record_summary(session, summary)
    return summary
