"""The page's sections on the trials: leaderboard, learning curves, ASHA's ladder, accuracy against cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pipeline.charts.style import Values
from pipeline.charts.trial_charts import Role, accuracy_against, ladder, learning_curves
from pipeline.page.blocks import Block, Chart, Charts, NotRecordedError, Row, Table, Text
from pipeline.page.number_texts import MISSING, duration, percent
from pipeline.page.pareto import pareto_front
from pipeline.page.sweep_records import SweepRecords
from vit.model.config import ViTConfig
from vit.model.work import flops_per_image

SHOWN_ROWS = 20
"""The rows of the leaderboard that are always shown; the others are folded away."""
ENDS = {
    "finished": "ran to the full length",
    "asha": "stopped by ASHA",
    "diverged": "diverged",
    "budget": "stopped when the budget's time for the search was over",
    "interrupted": "interrupted",
    "failed": "failed",
}
_ARRIVAL = 0.06
"""The largest gap between trials at a rung, drawn in their order of arrival, as a fraction of the way to the next."""


def leaderboard(records: SweepRecords) -> list[Block]:
    speeds = _speeds(records)
    winner = records.summary["winner"]["trial"]
    rows = [_leaderboard_row(row, speeds.get(row["trial"]), winner) for row in records.summary["leaderboard"]]
    head = (
        "rank", "trial", "validation", "epochs", "ended", "patch", "depth", "heads", "width", "learning rate",
        "parameters", "MFLOPs", "images/s", "training",
    )  # fmt: skip
    blocks: list[Block] = [Table(head, rows[:SHOWN_ROWS], words=(4,))]
    if len(rows) > SHOWN_ROWS:
        blocks.append(Table(head, rows[SHOWN_ROWS:], words=(4,), fold=f"The other {len(rows) - SHOWN_ROWS} trials"))
    return blocks


def _leaderboard_row(row: Mapping[str, Any], speed: float | None, winner: int) -> Row:
    cells = (
        row["rank"],
        f"{row['trial']} (published)" if row["trial"] == 0 else row["trial"],
        percent(row["val_accuracy"]),
        row["epochs_run"],
        row["ended"],
        row["patch_size"],
        row["depth"],
        row["num_heads"],
        row["embed_dim"],
        f"{row['learning_rate']:.1e}",
        f"{row['num_parameters']:,}",
        f"{_flops(row) / 1e6:,.1f}",
        MISSING if speed is None else f"{speed:,.0f}",
        duration(row["training_seconds"]),
    )
    return Row([str(cell) for cell in cells], strong=row["trial"] == winner, note=row["error"])


def curves(records: SweepRecords) -> list[Block]:
    roles = _roles(records.summary)
    found = [
        {"trial": trial.index, "role": roles[trial.index], "epoch": epoch.number, "accuracy": round(epoch.accuracy, 5)}
        for trial in records.trials
        for epoch in trial.epochs
    ]
    if not found:
        raise NotRecordedError("the trials' runs are gone from MLflow")
    return [
        Text("Each line is a trial; those that were stopped early are faded. Point at a line to see whose it is."),
        Chart(learning_curves(found), "Validation accuracy of each trial by epoch"),
    ]


def stops(records: SweepRecords) -> list[Block]:
    summary = records.summary
    rows, asha = summary["leaderboard"], summary["asha"]
    ended = Counter(row["ended"] for row in rows)
    ends = ", ".join(f"{ended[outcome]} {words}" for outcome, words in ENDS.items() if ended[outcome])
    blocks: list[Block] = [
        Text(
            f"Of {len(rows)} trials: {ends}. In all {asha['epochs']} of the {asha['full_grid_epochs']} epochs that all "
            f"trials at full length would have taken ({percent(asha['share'])})."
        )
    ]
    decided = [(row, decision) for row in rows for decision in row["decisions"]]
    if not decided:
        return blocks
    names = [*(f"epoch {epoch}" for epoch in asha["rungs"][:-1]), f"best of {asha['rungs'][-1]}"]
    head = ("trial", "epoch", "validation", "cut-off", "rank there", "decision")
    table = [
        Row(
            (
                str(row["trial"]), str(decision["epoch"]), percent(decision["accuracy"]), percent(decision["cutoff"]),
                f"{decision['rank']} of {decision['of']}", _verdict(row, decision),
            )
        )
        for row, decision in decided
    ]  # fmt: skip
    return [
        *blocks,
        Text(
            "A line is a trial on its way up. Within a rung the first to arrive stands at the left; the dash above or "
            "below a mark is the cut-off that it met, and a hollow mark is where it was stopped."
        ),
        Chart(ladder(_ladder_points(summary), names), "The trials' accuracies at each rung of ASHA, with the cut-offs"),
        Table(head, table, words=(5,), fold="All decisions of ASHA"),
    ]


def _ladder_points(summary: Mapping[str, Any]) -> Values:
    roles, rungs = _roles(summary), summary["asha"]["rungs"]
    decisions = [decision for row in summary["leaderboard"] for decision in row["decisions"]]
    arrived = {rung: max((made["of"] for made in decisions if made["epoch"] == rung), default=1) for rung in rungs}
    found: Values = []
    for row in summary["leaderboard"]:
        same = {"trial": row["trial"], "role": roles[row["trial"]]}
        for decision in row["decisions"]:
            count = arrived[decision["epoch"]]
            shift = min(0.7, _ARRIVAL * count) * ((decision["of"] - 0.5) / count - 0.5)
            found.append(
                {
                    **same, "rung": f"epoch {decision['epoch']}", "x": round(rungs.index(decision["epoch"]) + shift, 4),
                    "accuracy": decision["accuracy"], "cutoff": decision["cutoff"], "verdict": _verdict(row, decision),
                }
            )  # fmt: skip
        if row["epochs_run"] == rungs[-1] and row["val_accuracy"] is not None:
            found.append(
                {
                    **same, "rung": "full length", "x": len(rungs) - 1, "accuracy": row["val_accuracy"], "cutoff": None,
                    "verdict": "went on",
                }
            )  # fmt: skip
    return found


def _verdict(row: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    if decision["go_on"]:
        return "went on"
    return "diverged" if row["ended"] == "diverged" else "stopped"


def costs(records: SweepRecords) -> list[Block]:
    speeds, roles = _speeds(records), _roles(records.summary)
    rows = records.sound_rows
    charts = [
        _cost_chart("parameters", [(row, row["num_parameters"]) for row in rows], roles),
        _cost_chart("FLOPs of an image, forward", [(row, _flops(row)) for row in rows], roles),
    ]
    measured = [(row, speeds[row["trial"]]) for row in rows if row["trial"] in speeds]
    if measured:
        charts.append(_cost_chart("training images a second", measured, roles, more_is_better=True))
    return [
        Text(
            "Best validation accuracy against what a model costs. The ringed and connected trials are "
            "the Pareto front: no other trial beats them in both. Trials that were stopped had fewer epochs; those "
            "that diverged or failed are left out. Images per second were measured while other trials trained at the "
            "same time, so they depend on those."
        ),
        Charts(charts),
    ]


def _cost_chart(
    title: str,
    rows_and_costs: Sequence[tuple[Mapping[str, Any], float]],
    roles: Mapping[int, Role],
    more_is_better: bool = False,
) -> Chart:
    accuracies = [row["val_accuracy"] for row, _ in rows_and_costs]
    front = pareto_front(accuracies, [-cost if more_is_better else cost for _, cost in rows_and_costs])
    points: Values = [
        {"trial": row["trial"], "role": roles[row["trial"]], "accuracy": accuracy, "cost": cost, "front": on}
        for (row, cost), accuracy, on in zip(rows_and_costs, accuracies, front, strict=True)
    ]
    return Chart(accuracy_against(points, title, more_is_better), f"Accuracy against {title}")


def _speeds(records: SweepRecords) -> dict[int, float]:
    """Training images per second, by trial."""
    return {trial.index: speed for trial in records.trials if (speed := trial.images_per_second) is not None}


def _flops(row: Mapping[str, Any]) -> float:
    """The FLOPs of one image's forward pass through a trial's model."""
    names = [field.name for field in fields(ViTConfig)]
    return flops_per_image(ViTConfig(**{name: row[name] for name in names if name in row}))


def _roles(summary: Mapping[str, Any]) -> dict[int, Role]:
    return {row["trial"]: _role(summary, row) for row in summary["leaderboard"]}


def _role(summary: Mapping[str, Any], row: Mapping[str, Any]) -> Role:
    if row["trial"] == summary["winner"]["trial"]:
        return "winner"
    if row["trial"] == 0:
        return "published"
    return "full length" if row["ended"] == "finished" else "stopped early"
