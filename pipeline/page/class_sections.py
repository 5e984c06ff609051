"""The page's sections on the classes: the accuracy of each, the confusions between them, and the worst mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.charts.class_charts import class_accuracies, confusion_matrix
from pipeline.charts.style import Values
from pipeline.page.blocks import Block, Chart, NotRecordedError, Picture, Pictures, Row, Table, Text
from pipeline.page.confusions import most_confused
from pipeline.page.mistakes import Mistakes
from pipeline.page.number_texts import percent
from pipeline.page.pictures import picture, picture_with_map
from pipeline.page.sweep_records import CHAMPION, PUBLISHED, WINNER, SweepRecords
from pipeline.statistics.intervals import Interval, accuracy_interval
from pipeline.trials.predictions import Predictions

MOST_CLASSES = 30
"""The most classes that a chart shows; if there are more, those in which the winner makes the most mistakes."""
COUNTED_CLASSES = 20
"""With up to this many classes, the cells of the confusion matrix have room for counts."""
SHOWN_PAIRS = 10


def class_accuracy(records: SweepRecords) -> list[Block]:
    names, labels = records.class_names, _models(records)
    shown = _hardest(_winner(records), names)
    tallies = {label: _tally(records.predictions[model], len(names)) for model, label in labels.items()}
    rows = [_bar(names[index], label, tallies[label][index]) for index in shown for label in tallies]
    blocks: list[Block] = [
        Text(
            "The share of each class's test images that the best training of each model classifies correctly. The "
            "line on a bar is its 95% interval (Wilson): where two intervals overlap widely, these images cannot tell "
            "which model is better." + _cut(shown, names)
        )
    ]
    if CHAMPION not in records.predictions and records.summary["registry"]["champion_version"] is not None:
        blocks.append(Text(f"The champion is not among them: {_why_no_champion(records)}.", soft=True))
    table = [
        Row((name, *(_share_text(tally[index]) for tally in tallies.values()))) for index, name in enumerate(names)
    ]
    return [
        *blocks,
        Chart(class_accuracies([row for row in rows if row], list(tallies)), "Accuracy of each class, with intervals"),
        Table(("class", *tallies), table, words=(0,), fold="Accuracy of each class, as numbers"),
    ]


def _why_no_champion(records: SweepRecords) -> str:
    registry = records.summary["registry"]
    if registry["champion_version"] == registry["version"]:
        return "it is the winner"
    return f"no predictions of version {registry['champion_version']} on these test images are recorded"


@dataclass(frozen=True)
class _Tally:
    """The correctly classified images of one class, and all its images."""

    right: int
    total: int

    @property
    def interval(self) -> Interval:
        return accuracy_interval(self.right, self.total)


def _tally(predictions: Predictions, classes: int) -> list[_Tally]:
    """Counts the correctly classified images of each class, and all its images."""
    right = np.bincount(predictions.labels[predictions.correct], minlength=classes)
    total = np.bincount(predictions.labels, minlength=classes)
    return [_Tally(int(its_right), int(its_total)) for its_right, its_total in zip(right, total, strict=True)]


def _bar(name: str, model: str, tally: _Tally) -> dict[str, Any] | None:
    """A bar of the chart; None for a class without images."""
    if not tally.total:
        return None
    interval = tally.interval
    return {
        "name": name, "model": model, "accuracy": round(tally.right / tally.total, 5), "low": round(interval.low, 5),
        "high": round(interval.high, 5), "correct": tally.right, "total": tally.total,
    }  # fmt: skip


def _share_text(tally: _Tally) -> str:
    if not tally.total:
        return "no images"
    interval = tally.interval
    return f"{percent(tally.right / tally.total, 1)} ({percent(interval.low, 1)} to {percent(interval.high, 1)})"


def _models(records: SweepRecords) -> Mapping[str, str]:
    """The models whose predictions are recorded, with their labels on the page; the winner first."""
    summary = records.summary
    winner, registry = summary["winner"], summary["registry"]
    labels = {
        WINNER: "winner (published)" if winner["published"] else f"winner (trial {winner['trial']})",
        PUBLISHED: "published",
        CHAMPION: f"champion (version {registry['champion_version']})",
    }
    return {model: label for model, label in labels.items() if model in records.predictions}


def _winner(records: SweepRecords) -> Predictions:
    if WINNER not in records.predictions:
        raise NotRecordedError(
            "the winner's predictions on the test images are not in MLflow, or an older version wrote them without "
            "probabilities"
        )
    return records.predictions[WINNER]


def _hardest(predictions: Predictions, names: Sequence[str]) -> list[int]:
    """The indices of all classes or, if there are too many, of those with the most mistakes; in the classes' order."""
    tallies = _tally(predictions, len(names))
    worst = sorted(range(len(names)), key=lambda index: tallies[index].right - tallies[index].total)
    return sorted(worst[:MOST_CLASSES])


def _cut(shown: Sequence[int], names: Sequence[str]) -> str:
    return "" if len(shown) == len(names) else f" Of the {len(names)} classes, the {len(shown)} with the most mistakes."


def confusions(records: SweepRecords) -> list[Block]:
    predictions, names = _winner(records), records.class_names
    matrix, shown = predictions.confusion(len(names)), _hardest(predictions, names)
    totals = matrix.sum(axis=1)
    cells: Values = [
        {
            "true": names[true], "predicted": names[predicted], "count": int(matrix[true, predicted]),
            "share": round(float(matrix[true, predicted] / totals[true]), 5),
        }
        for true in shown
        for predicted in shown
        if matrix[true, predicted]
    ]  # fmt: skip
    pairs = most_confused(matrix, SHOWN_PAIRS)
    table = [
        Row((names[pair.true], names[pair.predicted], f"{pair.count:,}", f"{pair.total:,}", percent(pair.share, 1)))
        for pair in pairs
    ]
    words = "; ".join(pair.in_words(names) for pair in pairs[:3])
    return [
        Text(f"The winner, on the test images. Most often: {words}.{_cut(shown, names)}" if pairs else "No mistakes."),
        Chart(
            confusion_matrix(cells, [names[index] for index in shown], len(shown) <= COUNTED_CLASSES),
            "The winner's confusion matrix: true classes as rows, predicted ones as columns",
            min_width=24 * len(shown) + 100,
            max_width=64 * len(shown) + 160,
        ),
        Table(("class", "taken for", "images", "of", "share"), table, words=(0, 1), fold="The pairs most confused"),
    ]


def mistakes(records: SweepRecords) -> list[Block]:
    found, names = records.mistakes, records.class_names
    if found is None:
        raise NotRecordedError(
            "the sweep's run does not hold them: an older version wrote it, or the winner's answers were not recorded"
        )
    if not len(found):
        return [Text("The winner makes none.")]
    whose = (
        "of the class token, which the head reads"
        if found.has_class_token
        else "as the mean over all patches, which is what the head reads: the model has no class token"
    )
    return [
        Text(
            f"The {len(found)} wrong answers of which the winner was surest. Beside each image is a map of where the "
            f"model looked: the attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928) {whose}. The patch with the "
            "highest weight glows most, the one with the lowest not at all; the caption gives both weights."
        ),
        Pictures([_picture(found, number, names) for number in range(len(found))]),
    ]


def _picture(found: Mistakes, number: int, names: Sequence[str]) -> Picture:
    true, attention = names[found.labels[number]], found.attention[number]
    of_even = attention * attention.size  # relative to the weight of a patch if all weighed the same
    return Picture(
        picture(found.images[number]),
        picture_with_map(found.images[number], attention),
        f"{true}, taken for {names[found.predicted[number]]}",
        f"{percent(found.confidence[number], 1)} sure; {percent(found.label_probability[number], 1)} for {true}. "
        f"Patches weigh {of_even.min():.2f} to {of_even.max():.2f} of an even share.",
    )
