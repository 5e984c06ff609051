"""The end of a sweep: which model is best and why, as plain values, on the terminal and in the sweep's run."""

import csv
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cluster import cluster_cores
from pipeline.evaluation import TestResult
from pipeline.figures import draw_leaderboard
from pipeline.outputs import Evaluated, Searched
from pipeline.ranking import TrialRecord, epochs_share
from pipeline.registry import CHAMPION, list_versions
from pipeline.sweep_session import SweepSession
from pipeline.trial_runs import SWEEP_RUN, trial_key
from vit.storage import Folder

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
SUMMARY_FILE = "summary.json"


def summarise(session: SweepSession, searched: Searched, evaluated: Evaluated, version: int) -> dict[str, Any]:
    """All that the command says at its end, ready for JSON. Accuracies are fractions, times are seconds."""
    trials, rungs = searched.ranked, session.rungs
    return {
        "sweep": {
            "name": session.name,
            "run_id": session.tracker.run_id(SWEEP_RUN),
            "experiment": session.tracker.experiment,
            "tracking_uri": session.tracker.uri,
            "folder": session.folder,
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
        "leaderboard": [_row(session, rank, trial) for rank, trial in enumerate(trials, start=1)],
        "winner": _measured(session, searched.winner, evaluated.winner),
        "baseline": _measured(session, searched.baseline, evaluated.baseline),
        "gain": _gain(searched, evaluated),
        "asha": {
            "rungs": [*rungs.epochs, rungs.max_epochs],
            "epochs": sum(len(trial.epochs) for trial in trials),
            "full_grid_epochs": len(trials) * rungs.max_epochs,
            "share": epochs_share(trials, rungs.max_epochs),
        },
        "registry": _registry(session, version),
        "seconds": {
            "stages": session.seconds,
            "training": sum(trial.seconds for trial in trials),
            "concurrent_trials": session.allotment.concurrent,
            "cluster_cores": cluster_cores(),
        },
        "next": _next_commands(session),
    }


def _row(session: SweepSession, rank: int, trial: TrialRecord) -> dict[str, Any]:
    best = trial.best
    return {
        "rank": rank,
        "trial": trial.index,
        "val_accuracy": best.accuracy if best else None,
        "val_loss": best.loss if best else None,
        "best_epoch": best.number if best else None,
        "epochs_run": len(trial.epochs),
        "ended": trial.outcome,
        "error": trial.error,
        "num_parameters": trial.num_parameters,
        "training_seconds": trial.seconds,
        "run_id": session.tracker.run_id(trial_key(trial.index)),
        **asdict(trial.spec.model),
        **asdict(trial.spec.recipe),
    }


def _measured(session: SweepSession, trial: TrialRecord | None, test: TestResult | None) -> dict[str, Any] | None:
    if trial is None or trial.best is None or test is None:
        return None
    names = session.dataset.class_names
    return {
        "trial": trial.index,
        "val_accuracy": trial.best.accuracy,
        "test_accuracy": test.counts.accuracy,
        "test_correct": test.counts.correct,
        "test_class_accuracy": dict(zip(names, test.counts.class_accuracy, strict=True)),
    }


def _gain(searched: Searched, evaluated: Evaluated) -> dict[str, float] | None:
    baseline = searched.baseline
    if baseline is None or evaluated.baseline is None or baseline.best is None or searched.winner.best is None:
        return None
    return {
        "val_accuracy": searched.winner.best.accuracy - baseline.best.accuracy,
        "test_accuracy": evaluated.winner.counts.accuracy - evaluated.baseline.counts.accuracy,
    }


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
    """Puts the summary into the sweep's run: metrics, a description, the leaderboard as CSV and as a figure."""
    winner, rows = summary["winner"], summary["leaderboard"]
    metrics = {
        "best/val_accuracy": winner["val_accuracy"],
        "test/accuracy": winner["test_accuracy"],
        "epochs_share": summary["asha"]["share"],
        "training_seconds": summary["seconds"]["training"],
    }
    for name, value in (summary["gain"] or {}).items():
        metrics[f"gain/{name}"] = value
    tags = {"mlflow.note.content": "\n\n".join(summary_lines(summary)), "pipeline.winner": str(winner["trial"])}
    files = Path(tempfile.mkdtemp(prefix="vit-summary-"))
    (files / SUMMARY_FILE).write_text(json.dumps(summary, indent=2))
    _write_csv(files / "leaderboard.csv", rows)
    draw_leaderboard(
        str(files / "leaderboard.png"),
        session.name,
        [f"trial {row['trial']}" for row in rows],
        [row["val_accuracy"] for row in rows],
        [row["num_parameters"] for row in rows],
        [row["ended"] for row in rows],
        baseline_index=next(place for place, row in enumerate(rows) if row["trial"] == 0),
    )
    session.tracker.log(SWEEP_RUN, metrics, tags=tags, files=files)


def keep_summary(session: SweepSession, summary: dict[str, Any]) -> None:
    """For the same command, when it is given again."""
    Folder(session.folder).write(SUMMARY_FILE, json.dumps(summary).encode())


def earlier_summary(session: SweepSession) -> dict[str, Any] | None:
    """What the same command said when it finished before; None where there is work left."""
    folder = Folder(session.folder)
    if session.tracker.earlier_end(SWEEP_RUN)[0] != "FINISHED" or not folder.exists(SUMMARY_FILE):
        return None
    summary: dict[str, Any] = json.loads(folder.read(SUMMARY_FILE))
    return summary if len(summary["leaderboard"]) == session.config.trials else None


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def print_summary(console: Console, summary: dict[str, Any]) -> None:
    console.print(_table(summary["leaderboard"]))
    for line in summary_lines(summary):
        console.out(line, highlight=False)
    console.out(f"view the runs:   {summary['next']['view']}", highlight=False)
    console.out(f"promote:         {summary['next']['promote']}", highlight=False)


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


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The result in words."""
    winner, baseline, gain = summary["winner"], summary["baseline"], summary["gain"]
    images, registry, asha = summary["dataset"]["test_images"], summary["registry"], summary["asha"]
    lines = [
        f"winner: trial {winner['trial']}, validation {winner['val_accuracy']:.2%}, "
        f"test {winner['test_accuracy']:.2%} ({winner['test_correct']} of {images})"
    ]
    if baseline is None or gain is None:
        lines.append("published configuration: trial 0 completed no epoch, so there is no gain to state")
    elif baseline["trial"] == winner["trial"]:
        lines.append("published configuration: it won; no trial was better")
    else:
        lines.append(
            f"published configuration: validation {baseline['val_accuracy']:.2%}, test "
            f"{baseline['test_accuracy']:.2%}; gain {gain['val_accuracy']:+.2%} and {gain['test_accuracy']:+.2%}"
        )
    lines.append(f"ASHA: {asha['epochs']} of {asha['full_grid_epochs']} epochs of the full grid ({asha['share']:.1%})")
    champion = "there is no champion yet"
    if registry["champion_version"] is not None:
        accuracy = registry["champion_test_accuracy"]
        known = f", test {accuracy:.2%}" if accuracy is not None else ""
        champion = f"champion: version {registry['champion_version']}{known}"
    lines.append(f"registry: {registry['model']} version {registry['version']} is the challenger; {champion}")
    return lines
