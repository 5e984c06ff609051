"""Describes a sweep for its MLflow run, as Markdown: what was searched, what won, by how much, what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.page.headline import certainty_sentences, result_sentence
from pipeline.page.number_texts import count_of, percent, spread
from pipeline.trials.predictions import Predictions

_ROWS = 5
"""How many rows of the leaderboard are shown."""


def describe_sweep(summary: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> str:
    """Returns the description of a sweep, as Markdown.

    Args:
        summary: what `pipeline.report.summary.summarise` returned.
        predictions: see `pipeline.page.sweep_records.SweepRecords`.
    """
    parts = [
        f"**{result_sentence(summary)}**",
        " ".join(certainty_sentences(predictions)),
        "#### What was searched",
        _searched(summary),
        "#### Confirmed, at full length",
        _table(("model", "validation", "test"), [_confirmed(model) for model in summary["confirm"]["models"]]),
        f"#### Leaderboard: the best {min(_ROWS, len(summary['leaderboard']))}",
        _table(
            ("rank", "trial", "validation", "epochs", "ended", "parameters"),
            [_trial(row) for row in summary["leaderboard"][:_ROWS]],
        ),
        "#### What to do next",
        f"Look at `report.html` among the artifacts, or make it again: `python -m pipeline.report "
        f"{summary['sweep']['name']}`. Make the winner the champion: `{summary['next']['promote']}`. In the list of "
        "runs, sort by `val/accuracy`, and compare trials by selecting them and pressing Compare.",
        "#### In full",
        "\n".join(f"- {_plain(line)}" for line in summary["lines"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _searched(summary: Mapping[str, Any]) -> str:
    dataset, sweep, asha = summary["dataset"], summary["sweep"], summary["asha"]
    return (
        f"{count_of(len(summary['leaderboard']), 'configuration')} of the space `{sweep['space']}` on "
        f"{_plain(dataset['name'])} ({dataset['train_images']:,} training, {dataset['validation_images']:,} "
        f"validation, {dataset['test_images']:,} test images), of at most {count_of(asha['rungs'][-1], 'epoch')}; "
        f"ASHA let them train {asha['epochs']:,} of {asha['full_grid_epochs']:,} epochs "
        f"({percent(asha['share'], 0)}). Trial 0 is the published configuration; validation images alone choose."
    )


def _confirmed(model: Mapping[str, Any]) -> Sequence[str]:
    validation, test = (spread(model[f"{split}_mean"], model[f"{split}_spread"]) for split in ("val", "test"))
    return model["name"], validation, test


def _trial(row: Mapping[str, Any]) -> Sequence[str]:
    epochs, parameters = str(row["epochs_run"]), f"{row['num_parameters']:,}"
    return str(row["rank"]), str(row["trial"]), percent(row["val_accuracy"]), epochs, row["ended"], parameters


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Escapes a text, such as a data set's name, so that Markdown shows it unchanged."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)
