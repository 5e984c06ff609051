"""Records the result in the sweep's run: metrics, description, leaderboard, figures, worst mistakes and page."""

import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.results.confirmation import ConfirmedModel
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.trials.predictions import Predictions
from pipeline.trials.rungs import Decision

REPORT_FILE = "report.html"


def record_summary(session: SweepSession, summary: dict[str, Any], winner: ConfirmedModel) -> None:
    """Records everything about the result in the sweep's run; the page last, from what MLflow has by then."""
    # These are slow to import, and most commands do not record a summary.
    from pipeline.page.page import render_page, sections_of
    from pipeline.page.sweep_records import MISTAKES_FILE, SUMMARY_FILE, WINNER, read_predictions, read_sweep
    from pipeline.report.note import describe_sweep
    from pipeline.report.winner_mistakes import winner_mistakes

    client = session.tracker.client
    session.tracker.flush()
    predictions = read_predictions(client, summary)
    files = Path(tempfile.mkdtemp(prefix="vit-summary-"))
    (files / SUMMARY_FILE).write_text(json.dumps(summary, indent=2))
    _write_csv(files / "leaderboard.csv", summary["leaderboard"])
    _draw_figures(files / "figures", summary, predictions.get(WINNER))
    if WINNER in predictions:
        weights = session.find_weights(winner.index, winner.best_run)
        winner_mistakes(weights, session.dataset.test, predictions[WINNER]).write(files / MISTAKES_FILE)
    note = describe_sweep(summary, predictions)
    tags = {"mlflow.note.content": note, "pipeline.winner": str(summary["winner"]["trial"])}
    session.tracker.log(SWEEP_RUN, _metrics(summary), tags=tags, files=files)
    page = Path(tempfile.mkdtemp(prefix="vit-page-"))
    records = read_sweep(client, session.tracker.run_id(SWEEP_RUN), predictions)
    (page / REPORT_FILE).write_text(render_page(records.summary, sections_of(records)), encoding="utf-8")
    session.tracker.log(SWEEP_RUN, files=page)


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    return {
        "best/val_accuracy": summary["winner"]["val_mean"],
        "best/search_accuracy": summary["leaderboard"][0]["val_accuracy"],
        "test/accuracy": summary["winner"]["test_mean"],
        "epochs_share": summary["asha"]["share"],
        "training_seconds": summary["seconds"]["training"],
        **{f"gain/{name}": value for name, value in summary["gain"].items()},
    }


def _draw_figures(folder: Path, summary: Mapping[str, Any], predictions: Predictions | None) -> None:
    """Draws the figures that MLflow shows: of the trials and, where they are recorded, of the winner's predictions."""
    # These are slow to import, and most commands draw nothing.
    from pipeline.figures.importance_figure import draw_importance
    from pipeline.figures.ladder_figure import draw_ladder
    from pipeline.figures.leaderboard_figure import draw_leaderboard

    folder.mkdir()
    title, rows = summary["sweep"]["name"], summary["leaderboard"]
    decisions = {row["trial"]: [Decision(**each) for each in row["decisions"]] for row in rows}
    full = summary["asha"]["rungs"][-1]
    finals = {row["trial"]: row["val_accuracy"] for row in rows if row["epochs_run"] == full}
    draw_ladder(str(folder / "ladder.png"), f"{title}: ASHA", decisions, finals, full, summary["winner"]["trial"])
    draw_leaderboard(
        str(folder / "leaderboard.png"),
        title,
        [f"trial {row['trial']}" for row in rows],
        [row["val_accuracy"] for row in rows],
        [row["num_parameters"] for row in rows],
        [row["ended"] for row in rows],
        baseline_index=next(position for position, row in enumerate(rows) if row["trial"] == 0),
    )
    found = summary["importance"]
    if found is not None:
        note = f"of {found['target']}, {found['trials']} trials, out-of-bag R2 {found['score']:.2f}"
        draw_importance(str(folder / "importance.png"), f"{title}: hyperparameters", found["shares"], note)
    if predictions is not None:
        _draw_classes(folder, f"{title}: the winner on the test images", summary, predictions)


def _draw_classes(folder: Path, title: str, summary: Mapping[str, Any], predictions: Predictions) -> None:
    from pipeline.figures.trial_figures import draw_class_accuracy, draw_confusion_matrix

    accuracies = summary["winner"]["test_class_accuracy"]
    names = list(accuracies)
    draw_class_accuracy(str(folder / "class_accuracy.png"), title, names, list(accuracies.values()))
    confusion = predictions.confusion(len(names))
    draw_confusion_matrix(str(folder / "confusion_matrix.png"), title, names, confusion)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        columns = [name for name in rows[0] if name != "decisions"]  # the decisions have a table of their own
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
