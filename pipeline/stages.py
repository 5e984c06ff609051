"""The stages of a sweep, in the order of its story. Each takes the session and its inputs' outputs, by name."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from mlflow.exceptions import MlflowException

from pipeline.audit_verdict import AuditVerdict, choose_audited, judge_audit
from pipeline.checkup.versions import missing_files
from pipeline.code_digest import code_digests
from pipeline.confirmation import ConfirmedModel, FinalRun, ranked
from pipeline.dag import Graph, Plain, Stage
from pipeline.decisions import log_decisions
from pipeline.evaluation import evaluate_on_test, record_test
from pipeline.exits import InterruptedCommandError, PipelineError
from pipeline.finalists import Candidate, train_finalists
from pipeline.openings import count_openings, record_opening
from pipeline.outputs import Confirmed, Evaluated, Prepared, Searched, TestScore
from pipeline.planning.budget_keeper import BudgetKeeper, Finale
from pipeline.ranking import TrialRecord, TrialResult, leaderboard
from pipeline.registry import Measured, register
from pipeline.report.summary import record_summary, summarise
from pipeline.search import Limits, Search, run_search
from pipeline.sweep_session import SEARCH_CODE, SweepSession, search_reads
from pipeline.trials.progress import Progress
from pipeline.trials.rungs import Rungs
from pipeline.trials.runs import SWEEP_RUN, AuditRuns, TrialRuns, trial_key
from pipeline.trials.training import TrainingContext, TrainingData
from pipeline.weights import find_weights, first_lost_weights
from tune_spaces.space import TrialSpec
from vit.augment import measure_normalisation
from vit.data import duplicates_across_splits
from vit.storage import Folder

FINALS_CODE = (
    "pipeline.confirmation", "pipeline.ddp", "pipeline.finalists", "pipeline.ranking", "pipeline.trials.training",
)  # fmt: skip
EVALUATION_CODE = ("pipeline.evaluation", "pipeline.openings")
REPORT_CODE = tuple(f"pipeline.report.{name}" for name in ("edges", "importance", "page", "summary", "sweep_figures"))


def sweep_graph(session: SweepSession) -> Graph:
    """All that a sweep consists of, and what each stage's output depends on."""
    config, data = session.config, session.dataset
    reads = search_reads(config, data)
    shared = ("seed", "full length", "precision", "compile")
    finals: dict[str, Plain] = {**{name: reads[name] for name in shared}, "seeds": config.seeds}
    audits = [
        Stage(
            "audit", ("prepare", "search"), partial(audit, session), AuditVerdict,
            {"audited trials": config.audit}, code_digests("pipeline.audit_verdict", *SEARCH_CODE),
        )
    ] if config.audit else []  # fmt: skip
    stages = [
        Stage(
            "prepare", (), partial(prepare, session), Prepared,
            {"images": data.digest}, code_digests("vit.augment"),
        ),
        Stage(
            "search", ("prepare",), partial(search, session), Searched,
            reads, code_digests(*SEARCH_CODE), partial(_lost_trials, session),
        ),
        Stage(
            "baseline", ("prepare",), partial(baseline, session), ConfirmedModel,
            finals, code_digests(*FINALS_CODE), lambda model: _lost_runs(session, [model]),
        ),
        Stage(
            "confirm", ("prepare", "search", "baseline"), partial(confirm, session), Confirmed,
            {**finals, "finalists": config.finalists}, code_digests(*FINALS_CODE),
            lambda confirmed: _lost_runs(session, confirmed.models),
        ),
        Stage(
            "evaluate", ("confirm",), partial(evaluate, session), Evaluated,
            {"test images": data.test_digest}, code_digests(*EVALUATION_CODE),
        ),
        Stage(
            "register", ("confirm", "evaluate"), partial(register_winner, session), int,
            {"model": session.model_name}, code_digests("pipeline.served_model"), partial(_lost_version, session),
        ),
        *audits,
        Stage(
            "report", ("prepare", "search", "confirm", "evaluate", "register", *(stage.name for stage in audits)),
            partial(report, session), dict, {}, code_digests(*REPORT_CODE),
        ),
    ]  # fmt: skip
    return Graph(stages)


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


def search(session: SweepSession, prepare: Prepared) -> Searched:
    specs, precision = session.specs, session.precision
    session.say(
        f"search: {len(specs)} trials of space {session.space.name}, at most {session.rungs.max_epochs} epochs, rungs "
        f"{session.rungs.epochs}, {session.allotment.concurrent} at once, {precision}"
    )
    trials = _run_trials(session, TrialRuns, session.trials_folder, specs, session.rungs, prepare, _keeper(session))
    if len(trials) < len(specs):
        session.say(f"search: the budget left no time for {len(specs) - len(trials)} of the trials")
    return _searched(session, leaderboard(trials))


def _run_trials(
    session: SweepSession,
    kind: type[TrialRuns],
    folder: str,
    specs: list[TrialSpec],
    rungs: Rungs,
    prepared: Prepared,
    budget: BudgetKeeper | None = None,
) -> list[TrialRecord]:
    runs = kind(session.tracker, session.artifacts, folder, session.dataset_reference, session.dataset.class_names)
    what = Search(
        specs,
        training_data(session, prepared),
        TrainingContext(folder, session.precision, session.config.compile),
        rungs,
        session.allotment,
        session.folder,
        session.config.max_failures,
    )
    try:
        with Progress(session.console, len(specs), rungs) as progress:
            observers = [runs, progress, session.watchdog, *([budget] if budget else [])]
            limits = Limits(lambda: session.places, budget.may_begin if budget else lambda: True)
            trials = run_search(what, observers, lambda: session.interrupt.requested, limits)
    finally:
        session.artifacts.finish()  # what has ended has ended, whatever ends the others
    if session.interrupt.requested:
        done = sum(trial.outcome != "interrupted" for trial in trials)
        raise InterruptedCommandError(f"interrupted: {done} of {len(specs)} trials had ended; they stay in MLflow")
    return trials


def _keeper(session: SweepSession) -> BudgetKeeper | None:
    config, budget = session.config, session.config.budget
    if budget is None:
        return None
    return BudgetKeeper(budget, Finale(config.finalists, config.seeds, session.final_allotment.concurrent))


def _searched(session: SweepSession, trials: list[TrialRecord]) -> Searched:
    best = trials[0].best if trials else None
    if best is None:
        reasons = sorted({trial.error or trial.outcome for trial in trials})
        raise PipelineError(f"no trial completed an epoch: {'; '.join(reasons)}")
    results = tuple(TrialResult.of(trial, session.tracker.run_id(trial_key(trial.index))) for trial in trials)
    log_decisions(session.tracker, SWEEP_RUN, results)
    session.say(f"search: best is trial {trials[0].index}, validation {best.accuracy:.2%}")
    return Searched(results, session.precision)


def audit(session: SweepSession, prepare: Prepared, search: Searched) -> AuditVerdict:
    """Trains trials that ASHA stopped to their full length, with the seeds they had: the same trainings."""
    chosen = choose_audited(search.ranked, session.config.audit)
    session.say(f"audit: trials {', '.join(map(str, chosen)) or 'none'}, stopped by ASHA, to their full length")
    specs = {trial.index: trial.spec for trial in search.ranked}
    full = session.rungs.max_epochs
    no_rungs = Rungs(full, session.rungs.reduction_factor, full)
    folder = f"{session.folder}/audit"
    trials = _run_trials(session, AuditRuns, folder, [specs[index] for index in chosen], no_rungs, prepare)
    accuracies = {trial.index: trial.best.accuracy for trial in trials if trial.outcome == "finished" and trial.best}
    return judge_audit(session.rungs, search.ranked, accuracies)


def training_data(session: SweepSession, prepared: Prepared) -> TrainingData:
    data = session.dataset
    return TrainingData(data.train, data.validation, prepared.normalisation, data.class_names)


def baseline(session: SweepSession, prepare: Prepared) -> ConfirmedModel:
    """The published configuration at full length, beside the search, to which it leaves all places but one."""
    candidate = Candidate(session.specs[0], None)
    try:
        (model,) = train_finalists(session, [candidate], training_data(session, prepare), session.precision, at_once=1)
    finally:
        session.places_held = 0
    if model.error is not None:
        raise PipelineError(f"the published configuration: {model.error}")
    return model


def confirm(session: SweepSession, prepare: Prepared, search: Searched, baseline: ConfirmedModel) -> Confirmed:
    """The best of many is lucky: here it has to win once more, against the published configuration as well."""
    found = [trial for trial in search.ranked if trial.best is not None]
    finalists = [trial for trial in found if trial.index != 0][: session.config.finalists]
    candidates = [Candidate(trial.spec, _accuracy(trial)) for trial in finalists]
    at_once = session.final_allotment.concurrent
    seeds = "1 seed" if session.config.seeds == 1 else f"{session.config.seeds} seeds"
    session.say(
        f"confirm: trials {', '.join(str(trial.index) for trial in finalists) or 'none'} to their full length with "
        f"{seeds} each, {at_once} at once"
    )
    models = train_finalists(session, candidates, training_data(session, prepare), search.precision, at_once)
    trial = next((trial for trial in found if trial.index == 0), None)
    published = ConfirmedModel(baseline.spec, _accuracy(trial) if trial else None, baseline.runs)
    return Confirmed(tuple(ranked([published, *models])))


def _accuracy(trial: TrialResult) -> float | None:
    return trial.best.accuracy if trial.best else None


def evaluate(session: SweepSession, confirm: Confirmed) -> Evaluated:
    """Reads the test images, once for each confirmed model."""
    data, client = session.dataset, session.tracker.client
    pairs = [(model, run) for model in confirm.models for run in model.runs]
    record_opening(session.tracker, session.stage_keys["evaluate"], data.test_digest)
    results = evaluate_on_test([_weights(session, *pair) for pair in pairs], data.test, session.final_allotment)
    scores: dict[str, TestScore] = {}
    for (model, run), result in zip(pairs, results, strict=True):
        counts = result.counts
        record_test(session, run.run_id, result, f"trial {model.index}, seed {run.seed}")
        scores[run.run_id] = TestScore(
            run.run_id, counts.correct, counts.total, counts.loss, tuple(counts.class_accuracy)
        )
    return Evaluated(scores, count_openings(client, data.test_digest))


def _weights(session: SweepSession, model: ConfirmedModel, run: FinalRun) -> Folder:
    fetched = Folder(session.folder) / "fetched"
    return find_weights(session.tracker.client, run.run_id, run.folder, model.index, fetched)


def register_winner(session: SweepSession, confirm: Confirmed, evaluate: Evaluated) -> int:
    """Registers the winner's best training as the challenger; gives the version."""
    winner, run = confirm.winner, confirm.winner.best_run
    score = evaluate.scores[run.run_id]
    measured = Measured(session.dataset.test_digest, score.correct, score.total, run.best.accuracy)
    tags = {
        "pipeline.dataset": session.dataset.name,
        "pipeline.data_digest": session.dataset.digest,
        "pipeline.trial": str(winner.index),
        "pipeline.confirm_seed": str(run.seed),
        "pipeline.sweep_run_id": session.tracker.run_id(SWEEP_RUN),
    }
    description = (
        f"trial {winner.index} of sweep {session.name}, seed {run.seed}: validation {run.best.accuracy:.2%}, "
        f"test {score.accuracy:.2%} ({score.correct} of {score.total})"
    )
    example = session.dataset.validation.images[:2]
    weights = _weights(session, winner, run)
    client = session.tracker.client
    return register(client, session.model_name, run.run_id, weights, example, measured, tags, description)


def report(
    session: SweepSession,
    prepare: Prepared,
    search: Searched,
    confirm: Confirmed,
    evaluate: Evaluated,
    register: int,
    audit: AuditVerdict | None = None,
) -> dict[str, Any]:
    """Records the summary; gives it as plain values."""
    session.artifacts.finish()
    summary = summarise(session, search, confirm, evaluate, register, audit)
    summary["dataset"]["test_images_also_in_train"] = prepare.duplicates
    record_summary(session, summary)
    return summary


def _lost_trials(session: SweepSession, searched: Searched) -> str | None:
    with_weights = [trial.run_id for trial in searched.ranked if trial.best is not None]
    return first_lost_weights(session.tracker.client, with_weights)


def _lost_runs(session: SweepSession, models: Sequence[ConfirmedModel]) -> str | None:
    return first_lost_weights(session.tracker.client, [run.run_id for model in models for run in model.runs])


def _lost_version(session: SweepSession, version: int) -> str | None:
    client = session.tracker.client
    try:
        source = client.get_model_version(session.model_name, str(version)).source
    except MlflowException:
        return f"version {version} of {session.model_name}"
    return f"what version {version} of {session.model_name} consists of" if missing_files(client, str(source)) else None
