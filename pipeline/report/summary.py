"""Summarises the sweep's result as plain values: which model is best, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

from pipeline.errors import without_passwords
from pipeline.registry.versions import CHAMPION, list_versions
from pipeline.report.edges import edge_warnings
from pipeline.report.importance import importance, importance_lines
from pipeline.report.summary_lines import summary_lines
from pipeline.results.audit_verdict import AuditVerdict, audit_lines
from pipeline.results.confirmation import ConfirmedModel, spread
from pipeline.results.leaderboard import epochs_share
from pipeline.results.stage_outputs import Confirmed, Evaluated, Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.test_set_reads import count_test_set_reads
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.trials.records import TrialResult


def summarise(
    session: SweepSession,
    searched: Searched,
    confirmed: Confirmed,
    evaluated: Evaluated,
    version: int,
    audit: AuditVerdict | None,
) -> dict[str, Any]:
    """Returns all that the command reports at its end, ready for JSON. Accuracies are fractions, times are seconds."""
    trials = searched.ranked
    names = session.dataset.class_names
    models = [_model(model, evaluated, names) for model in confirmed.models]
    winner, published = models[0], next(model for model in models if model["published"])
    found = importance(session.space, session.dataset.shape, trials)
    summary = {
        **describe_search(session, searched),
        "confirm": {"seeds": session.config.seeds, "epochs": session.rungs.max_epochs, "models": models},
        "winner": winner,
        "baseline": published,
        "gain": {
            "val_accuracy": winner["val_mean"] - published["val_mean"],
            "test_accuracy": winner["test_mean"] - published["test_mean"],
        },
        "test_set_reads": evaluated.test_set_reads,
        "registry": _registry(session, version),
        "edges": edge_warnings(session.space, session.dataset.shape, trials),
        "importance": asdict(found) if found else None,
        "importance_lines": importance_lines(found),
        "audit": {**asdict(audit), "lines": audit_lines(audit)} if audit else None,
        "stages": _stages(session),
        "next": _next_commands(session),
    }
    return {**summary, "lines": summary_lines(summary)}


def up_to_date(session: SweepSession, summary: dict[str, Any]) -> dict[str, Any]:
    """Returns an earlier command's summary with what may have changed since then brought up to date.

    That is the registry, the number of test set reads, and the commands to run next.
    """
    fresh = {
        **summary,
        "registry": _registry(session, summary["registry"]["version"]),
        "test_set_reads": count_test_set_reads(session.tracker.client, session.dataset.test_digest),
        "next": _next_commands(session),
    }
    return {**fresh, "lines": summary_lines(fresh)}


def describe_search(session: SweepSession, searched: Searched) -> dict[str, Any]:
    """Returns what is known once the search is over; `seconds` is None where the command ran nothing."""
    trials, rungs = searched.ranked, session.rungs
    return {
        "sweep": {
            "name": session.name,
            "run_id": session.tracker.find_run_id(SWEEP_RUN),
            "experiment": session.tracker.experiment,
            "tracking_uri": without_passwords(session.tracker.uri),
            "folder": session.folder,
            "command": session.command_line,
            "seed": session.config.seed,
            "space": session.space.name,
            "precision": searched.precision,
        },
        "dataset": {
            "name": session.dataset.name,
            "digest": session.dataset.digest,
            "test_digest": session.dataset.test_digest,
            "train_images": len(session.dataset.train),
            "validation_images": len(session.dataset.validation),
            "test_images": len(session.dataset.test),
        },
        "leaderboard": [_row(rank, trial) for rank, trial in enumerate(trials, start=1)],
        "asha": {
            "rungs": [*rungs.epochs, rungs.max_epochs],
            "epochs": sum(trial.epochs_run for trial in trials),
            "full_grid_epochs": len(trials) * rungs.max_epochs,
            "share": epochs_share(trials, rungs.max_epochs),
        },
        "seconds": _seconds(session, trials) if session.ray_seconds is not None else None,
    }


def _seconds(session: SweepSession, trials: Sequence[TrialResult]) -> dict[str, Any]:
    return {
        "stages": {
            "ray": session.ray_seconds,
            **{name: record.seconds for name, record in session.stage_records.items() if record.seconds is not None},
        },
        "training": sum(trial.seconds for trial in trials),
        "concurrent_trials": session.allotment.concurrent,
        "cluster_cores": session.cluster_cores,
    }


def _row(rank: int, trial: TrialResult) -> dict[str, Any]:
    best = trial.best
    return {
        "rank": rank,
        "trial": trial.index,
        "val_accuracy": best.accuracy if best else None,
        "val_loss": best.loss if best else None,
        "best_epoch": best.number if best else None,
        "epochs_run": trial.epochs_run,
        "ended": trial.outcome,
        "error": trial.error,
        "num_parameters": trial.num_parameters,
        "training_seconds": trial.seconds,
        "run_id": trial.run_id,
        "decisions": [asdict(decision) for decision in trial.decisions],
        **asdict(trial.spec.model),
        **asdict(trial.spec.recipe),
    }


def _model(model: ConfirmedModel, evaluated: Evaluated, class_names: Sequence[str]) -> dict[str, Any]:
    """Describes a confirmed model; its best run on validation is the one that would be registered."""
    scores = [evaluated.scores[run.run_id] for run in model.runs]
    kept = evaluated.scores[model.best_run.run_id] if model.runs else None
    tested = [score.accuracy for score in scores]
    mirrored = [score.tta_accuracy for score in scores if score.tta_accuracy is not None]
    return {
        "name": "published" if model.is_published else f"trial {model.index}",
        "trial": model.index,
        "published": model.is_published,
        "error": model.error,
        "search_accuracy": model.search_accuracy,
        "val_accuracies": model.val_accuracies,
        "val_mean": mean(model.val_accuracies) if model.runs else None,
        "val_spread": spread(model.val_accuracies),
        "shrinkage": model.shrinkage,
        "test_accuracies": tested,
        "test_mean": mean(tested) if tested else None,
        "test_spread": spread(tested),
        "test_tta_mean": mean(mirrored) if mirrored else None,
        "test_tta_spread": spread(mirrored),
        "run_ids": [run.run_id for run in model.runs],
        "best_seed": model.best_run.seed if model.runs else None,
        "val_accuracy": model.best_run.best.accuracy if model.runs else None,
        "test_accuracy": kept.accuracy if kept else None,
        "test_correct": kept.correct if kept else None,
        "test_class_accuracy": dict(zip(class_names, kept.class_accuracy, strict=True)) if kept else None,
    }


def _stages(session: SweepSession) -> list[dict[str, Any]]:
    """Describes the stages of the graph; the report itself has not ended yet, so it has no time."""
    return [
        {
            "name": record.name,
            "inputs": record.inputs,
            "outcome": record.outcome,
            "reason": record.reason,
            "seconds": record.seconds,
            "run_id": record.cached_run_id or session.tracker.run_id(record.key),
        }
        for record in session.stage_records.values()
    ]


def _registry(session: SweepSession, version: int) -> dict[str, Any]:
    versions = {entry.version: entry for entry in list_versions(session.tracker.client, session.model_name)}
    champion = next((entry for entry in versions.values() if CHAMPION in entry.aliases), None)
    measured = champion.measured if champion else None
    return {
        "model": session.model_name,
        "version": version,
        "aliases": list(versions[version].aliases),
        "champion_version": champion.version if champion else None,
        "champion_test_accuracy": measured.test_correct / measured.test_images if measured else None,
    }


def _next_commands(session: SweepSession) -> dict[str, str]:
    given = session.config.tracking_uri
    option = f" --tracking-uri {without_passwords(given)}" if given else ""
    return {
        "view": f"python -m pipeline.ui{option}",
        "promote": f"python -m pipeline.promote --model {session.model_name}{option}",
    }
