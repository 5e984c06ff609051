"""The page's section on the hyperparameters: which values led to which accuracy, and which hyperparameters mattered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pipeline.charts.hyperparameter_charts import importance_bars, parallel_coordinates
from pipeline.charts.style import Values
from pipeline.page.blocks import Block, Chart, Row, Table, Text, need
from pipeline.page.number_texts import percent
from pipeline.page.sweep_records import SweepRecords
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

MOST_AXES = 11
"""The most axes of the parallel coordinates, besides the accuracy's: more could not be told apart."""
_PIXELS = 92
"""The smallest distance between two neighbouring axes."""
_FEW = 4
_ROOM = 0.09
"""The smallest distance between two texts beside an axis, as a fraction of the axis's length."""
_LOG_RATIO = 20
"""The ratio of the largest to the smallest value from which on an axis is logarithmic."""
ACCURACY = "validation accuracy"
HYPERPARAMETERS = [field.name for kind in (ViTConfig, Recipe) for field in fields(kind)]


def hyperparameters(records: SweepRecords) -> list[Block]:
    summary = records.summary
    lines = [*need(summary, "edges"), *need(summary, "importance_lines")]
    importance = summary["importance"]
    shares = importance["shares"] if importance else {}
    blocks: list[Block] = [Text(line) for line in lines]
    rows = records.sound_rows
    names = searched(summary["leaderboard"], shares)
    if names and rows:
        blocks += _coordinates(rows, names)
    if importance:
        table = [Row((name, percent(share))) for name, share in shares.items()]
        blocks += [
            Chart(importance_bars(shares), "Each hyperparameter's share of the importance"),
            Table(("hyperparameter", "share"), table, words=(0,), fold="The shares as numbers"),
        ]
    return blocks


def searched(rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float]) -> list[str]:
    """The hyperparameters in which the sampled trials differ, the most important first; trial 0 was not sampled."""
    drawn = [row for row in rows if row["trial"] != 0]
    names = [name for name in HYPERPARAMETERS if len({str(row.get(name)) for row in drawn}) > 1]
    return sorted(names, key=lambda name: -shares.get(name, 0.0))


def _coordinates(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Block]:
    axes = [*names[:MOST_AXES], ACCURACY]
    points: Values = []
    ticks: Values = []
    for axis in axes:
        column = [row["val_accuracy"] if axis == ACCURACY else row[axis] for row in rows]
        places = _places(column)
        texts = [percent(value, 1) if axis == ACCURACY else _short(value) for value in column]
        points += [
            {
                "trial": row["trial"], "axis": axis, "at": place, "value": text,
                "accuracy": round(row["val_accuracy"], 5),
            }
            for row, place, text in zip(rows, places, texts, strict=True)
        ]  # fmt: skip
        ticks += [{"axis": axis, "at": place, "text": text} for place, text in _ticks(places, texts)]
    more = len(names) + 1 - len(axes)
    left_out = f" Not shown: {', '.join(names[-more:])}." if more else ""
    return [
        Text(
            "A line is a trial; yellow is best. Trials that diverged or failed are left out. Move the slider to fade "
            f"the trials below an accuracy.{left_out}"
        ),
        Chart(
            parallel_coordinates(points, ticks, axes),
            "The trials' hyperparameters as parallel coordinates, coloured by validation accuracy",
            min_width=_PIXELS * len(axes),
        ),
    ]


def _places(column: Sequence[Any]) -> list[float]:
    """The position of each value on its axis, from 0 to 1. Words, or a few whole numbers, are spaced equally."""
    options = sorted(set(column), key=_order)
    numeric = all(_is_number(value) for value in options)
    whole = all(isinstance(value, int) for value in options)
    if not numeric or len(options) == 1 or (whole and len(options) <= _FEW):
        return [round(options.index(value) / max(len(options) - 1, 1), 4) for value in column]
    log = options[0] > 0 and options[-1] / options[0] >= _LOG_RATIO
    scale = math.log if log else float
    low, high = scale(options[0]), scale(options[-1])
    return [round((scale(value) - low) / (high - low), 4) for value in column]


def _order(value: Any) -> tuple[str, Any]:
    """A sort key: numbers come first, by value; other values follow, grouped by their type."""
    return ("" if _is_number(value) else str(type(value)), value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ticks(places: Sequence[float], texts: Sequence[str]) -> list[tuple[float, str]]:
    """Position and text of each tick: the lowest value, the highest, and those between them that have room."""
    known = sorted(dict(zip(places, texts, strict=True)).items())
    shown: list[tuple[float, str]] = []
    for place, text in known:
        has_room = not shown or place - shown[-1][0] >= _ROOM
        if has_room and (1 - place >= _ROOM or place == known[-1][0]):
            shown.append((place, text))
    return shown


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
