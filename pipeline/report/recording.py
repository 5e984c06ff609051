"""The summary in the sweep's run: metrics, a description, the page, the table, the figures."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.figures.boxes import Box
from pipeline.report.page import render_report
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.trials.rungs import Decision

SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"


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
    from pipeline.figures.graph_figure import draw_graph
    from pipeline.figures.importance_figure import draw_importance
    from pipeline.figures.ladder_figure import draw_ladder
    from pipeline.figures.leaderboard_figure import draw_leaderboard

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
        baseline_index=next(position for position, row in enumerate(rows) if row["trial"] == 0),
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
