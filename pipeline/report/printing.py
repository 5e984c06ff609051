"""Prints the leaderboard and the summary on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

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
