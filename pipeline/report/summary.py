"""The end of a sweep: which model is best and why, as plain values, on the terminal and in the sweep's run."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.audit_verdict import AuditVerdict, audit_lines
from pipeline.confirmation import ConfirmedModel, spread
from pipeline.outputs import Confirmed, Evaluated, Searched
from pipeline.ranking import TrialResult, epochs_share
from pipeline.registry import CHAMPION, list_versions
from pipeline.report.boxes import Box
from pipeline.report.edges import edge_warnings
from pipeline.report.importance import importance, importance_lines
from pipeline.report.page import render_report
from pipeline.sweep_session import SweepSession
from pipeline.trials.rungs import Decision
from pipeline.trials.runs import SWEEP_RUN

LEADERBOARD_COLUMNS = {
    "rank": "rank",
    "trial": "trial",
    "val_accuracy": "val acc",
    "epochs_run": "epochs",
    "ended": "ended",
    "patch_size": "patch",
    "depth": "depth",
    "num_heads": "heads",
    "embed_dim": "width",
    "learning_rate": "lr",
    "num_parameters": "params",
}
SHOWN_ROWS = 10
SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"


def summarise(
    session: SweepSession,
    searched: Searched,
    confirmed: Confirmed,
    evaluated: Evaluated,
    version: int,
    audit: AuditVerdict | None,
) -> dict[str, Any]:
    """All that the command says at its end, ready for JSON. Accuracies are fractions, times are seconds."""
    trials = searched.ranked
    names = session.dataset.class_names
    models = [_model(model, evaluated, names) for model in confirmed.models]
    winner, published = models[0], next(model for model in models if model["published"])
    found = importance(session.space.domains(session.dataset.shape), trials)
    summary = {
        **describe_search(session, searched),
        "confirm": {"seeds": session.config.seeds, "epochs": session.rungs.max_epochs, "models": models},
        "winner": winner,
        "baseline": published,
        "gain": {
            "val_accuracy": winner["val_mean"] - published["val_mean"],
            "test_accuracy": winner["test_mean"] - published["test_mean"],
        },
        "test_openings": evaluated.openings,
        "registry": _registry(session, version),
        "edges": edge_warnings(session.space.domains(session.dataset.shape), trials),
        "importance": asdict(found) if found else None,
        "importance_lines": importance_lines(found),
        "audit": {**asdict(audit), "lines": audit_lines(audit)} if audit else None,
        "stages": _stages(session),
        "next": _next_commands(session),
    }
    return {**summary, "lines": summary_lines(summary)}


def describe_search(session: SweepSession, searched: Searched) -> dict[str, Any]:
    """What is known once the search is over; `seconds` is None where the command ran nothing."""
    trials, rungs = searched.ranked, session.rungs
    return {
        "sweep": {
            "name": session.name,
            "run_id": session.tracker.find_run_id(SWEEP_RUN),
            "experiment": session.tracker.experiment,
            "tracking_uri": session.tracker.uri,
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
        "seconds": _seconds(session, trials) if session.seconds else None,
    }


def _seconds(session: SweepSession, trials: Sequence[TrialResult]) -> dict[str, Any]:
    return {
        "stages": dict(session.seconds),
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
    """A confirmed model; what would be registered of it is its best run on validation."""
    scores = [evaluated.scores[run.run_id] for run in model.runs]
    kept = evaluated.scores[model.best_run.run_id] if model.runs else None
    tested = [score.accuracy for score in scores]
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
        "run_ids": [run.run_id for run in model.runs],
        "best_seed": model.best_run.seed if model.runs else None,
        "val_accuracy": model.best_run.best.accuracy if model.runs else None,
        "test_accuracy": kept.accuracy if kept else None,
        "test_correct": kept.correct if kept else None,
        "test_class_accuracy": dict(zip(class_names, kept.class_accuracy, strict=True)) if kept else None,
    }


def _stages(session: SweepSession) -> list[dict[str, Any]]:
    """The graph; the report itself is not over yet."""
    return [
        {
            **asdict(story),
            "seconds": session.seconds.get(story.name),
            "run_id": story.run_id or session.tracker.run_id(session.stage_keys[story.name]),
        }
        for story in session.story.values()
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
    option = f" --tracking-uri {given}" if given else ""
    return {
        "view": f"python -m pipeline.ui{option}",
        "promote": f"python -m pipeline.promote --model {session.model_name}{option}",
    }


def record_summary(session: SweepSession, summary: dict[str, Any]) -> None:
    """Puts the summary into the sweep's run: metrics, a description, the report, the leaderboard, the figures."""
    winner = summary["winner"]
    metrics = {
        "best/val_accuracy": winner["val_mean"],
        "best/search_accuracy": summary["leaderboard"][0]["val_accuracy"],
        "test/accuracy": winner["test_mean"],
        "epochs_share": summary["asha"]["share"],
        "training_seconds": summary["seconds"]["training"],
        **{f"gain/{name}": value for name, value in summary["gain"].items()},
    }
    tags = {"mlflow.note.content": "\n\n".join(summary["lines"]), "pipeline.winner": str(winner["trial"])}
    files = Path(tempfile.mkdtemp(prefix="vit-summary-"))
    (files / SUMMARY_FILE).write_text(json.dumps(summary, indent=2))
    _write_csv(files / "leaderboard.csv", summary["leaderboard"])
    figures = _draw_figures(files, summary)
    (files / REPORT_FILE).write_text(render_report(summary, figures))
    session.tracker.log(SWEEP_RUN, metrics, tags=tags, files=files)


def _draw_figures(folder: Path, summary: Mapping[str, Any]) -> dict[str, Path]:
    """The sweep's figures, by name."""
    # Slow to import, and most commands draw nothing.
    from pipeline.report.sweep_figures import draw_graph, draw_importance, draw_ladder, draw_leaderboard

    title, rows = summary["sweep"]["name"], summary["leaderboard"]
    paths = {name: folder / f"{name}.png" for name in ("graph", "ladder", "leaderboard")}
    draw_graph(str(paths["graph"]), f"{title}: stages", stage_boxes(summary["stages"]))
    decisions = {row["trial"]: [Decision(**each) for each in row["decisions"]] for row in rows}
    full = summary["asha"]["rungs"][-1]
    finals = {row["trial"]: row["val_accuracy"] for row in rows if row["epochs_run"] == full}
    draw_ladder(str(paths["ladder"]), f"{title}: ASHA", decisions, finals, full, summary["winner"]["trial"])
    draw_leaderboard(
        str(paths["leaderboard"]),
        title,
        [f"trial {row['trial']}" for row in rows],
        [row["val_accuracy"] for row in rows],
        [row["num_parameters"] for row in rows],
        [row["ended"] for row in rows],
        baseline_index=next(place for place, row in enumerate(rows) if row["trial"] == 0),
    )
    found = summary["importance"]
    if found is not None:
        paths["importance"] = folder / "importance.png"
        note = f"of {found['target']}, {found['trials']} trials, out-of-bag R2 {found['score']:.2f}"
        draw_importance(str(paths["importance"]), f"{title}: hyperparameters", found["shares"], note)
    return paths


def stage_boxes(stages: Sequence[Mapping[str, Any]]) -> list[Box]:
    """The stages of a summary as boxes with their times."""
    return [Box(stage["name"], tuple(stage["inputs"]), stage["outcome"], _note(stage)) for stage in stages]


def _note(stage: Mapping[str, Any]) -> str:
    if stage["outcome"] == "cached":
        return f"from run {stage['run_id'][:8]}"
    return "" if stage["seconds"] is None else f"{stage['seconds']:.0f} s"


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        columns = [name for name in rows[0] if name != "decisions"]  # they have a table of their own
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def print_summary(console: Console, summary: dict[str, Any]) -> None:
    print_leaderboard(console, summary["leaderboard"])
    for line in summary["lines"]:
        console.out(line, highlight=False)
    console.out(f"view the runs:   {summary['next']['view']}", highlight=False)
    console.out(f"promote:         {summary['next']['promote']}", highlight=False)


def print_leaderboard(console: Console, rows: list[dict[str, Any]]) -> None:
    console.print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"leaderboard: best {min(SHOWN_ROWS, len(rows))} of {len(rows)} trials", box=None)
    for title in LEADERBOARD_COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*(_cell(name, row[name]) for name in LEADERBOARD_COLUMNS))
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "val_accuracy":
        return f"{value:.2%}"
    if name == "learning_rate":
        return f"{value:.1e}"
    return f"{value:,}" if name == "num_parameters" else str(value)


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The result in words."""
    winner, baseline, gain = summary["winner"], summary["baseline"], summary["gain"]
    seeds, asha, registry = summary["confirm"]["seeds"], summary["asha"], summary["registry"]
    name = "the published configuration" if winner["published"] else f"trial {winner['trial']}"
    lines = [
        f"winner: {name}, trained anew with {seeds} {'seed' if seeds == 1 else 'seeds'}: validation "
        f"{_spread(winner, 'val')}, test {_spread(winner, 'test')}"
    ]
    if winner["shrinkage"] is not None:
        lines.append(
            f"the search had promised {winner['search_accuracy']:.2%} on validation: {-winner['shrinkage']:+.2%} now"
        )
    if winner["published"]:
        lines.append("no finalist was better than the published configuration")
    else:
        lines.append(
            f"published configuration: validation {_spread(baseline, 'val')}, test {_spread(baseline, 'test')}; gain "
            f"{gain['val_accuracy']:+.2%} and {gain['test_accuracy']:+.2%}"
        )
    lines += [f"not in the running: {model['error']}" for model in summary["confirm"]["models"] if model["error"]]
    lines.append(f"ASHA: {asha['epochs']} of {asha['full_grid_epochs']} epochs of the full grid ({asha['share']:.1%})")
    lines += [*summary["importance_lines"], *(f"edge: {line}" for line in summary["edges"])]
    lines += summary["audit"]["lines"] if summary["audit"] else []
    times = summary["test_openings"]
    lines.append(f"test images: read {'once' if times == 1 else f'{times} times'} so far in this tracking store")
    champion = "there is no champion yet"
    if registry["champion_version"] is not None:
        accuracy = registry["champion_test_accuracy"]
        known = f", test {accuracy:.2%}" if accuracy is not None else ""
        champion = f"champion: version {registry['champion_version']}{known}"
    images = summary["dataset"]["test_images"]
    lines.append(
        f"registry: {registry['model']} version {registry['version']} is the challenger (seed {winner['best_seed']}, "
        f"test {winner['test_correct']} of {images}); {champion}"
    )
    return lines


def _spread(model: Mapping[str, Any], split: str) -> str:
    deviation = model[f"{split}_spread"]
    return f"{model[f'{split}_mean']:.2%}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
