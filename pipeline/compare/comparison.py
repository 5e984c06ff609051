"""Compares several models by the evidence on them: numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.evidence import Evidence
from pipeline.statistics.intervals import Interval, accuracy_interval
from pipeline.statistics.paired import PairedComparison, compare_paired

_OTHER_METRICS = {
    "validation loss": "best/val_loss",
    "best epoch": "best/epoch",
    "test loss": "test/loss",
    "test accuracy with mirror images": "test/accuracy_tta_flip",
    "training images a second": "images_per_second",
}
"""The metrics besides the two accuracies: from the name that is shown to MLflow's name."""


@dataclass(frozen=True)
class Figure:
    """One measured value of one model."""

    value: float
    interval: Interval | None = None
    """The 95% interval of an accuracy whose number of images is known."""
    images: int | None = None


Row = tuple[Figure | None, ...]
"""One figure for each model; None for a model that has none."""


@dataclass(frozen=True)
class ClassAccuracies:
    split: str
    """`test` or `validation`: the images on which the accuracies were measured."""
    rows: dict[str, Row]
    """The accuracies by class."""


@dataclass(frozen=True)
class Pair:
    """Two models on the same test images. If there is no test of them, `paired` is None, and `reason` says why."""

    first: str
    second: str
    paired: PairedComparison | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    models: tuple[str, ...]
    settings: dict[str, tuple[str | None, ...]]
    """The settings that are not the same for all models; None for a model without the setting."""
    metrics: dict[str, Row]
    classes: ClassAccuracies | None
    pairs: tuple[Pair, ...]
    """The first model paired with each of the others."""
    notes: tuple[str, ...]
    """What cannot be compared, and why."""


def compare(models: Sequence[Evidence]) -> Comparison:
    """Compares the models, and tests the first against each of the others on the same test images."""
    classes, notes = _classes(models)
    return Comparison(
        tuple(model.name for model in models),
        _differing_settings(models),
        _metrics(models),
        classes,
        tuple(_pair(models[0], other) for other in models[1:]),
        notes,
    )


def _differing_settings(models: Sequence[Evidence]) -> dict[str, tuple[str | None, ...]]:
    names = dict.fromkeys(name for model in models for name in model.settings)
    rows = {name: tuple(model.settings.get(name) for model in models) for name in names}
    rows["images (digest)"] = tuple(model.data_digest and model.data_digest[:15] for model in models)
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _metrics(models: Sequence[Evidence]) -> dict[str, Row]:
    rows: dict[str, Row] = {
        "validation accuracy": tuple(_validation_accuracy(model) for model in models),
        "test accuracy": tuple(_test_accuracy(model) for model in models),
    }
    for name, key in _OTHER_METRICS.items():
        rows[name] = tuple(_bare(model, key) for model in models)
    return {name: row for name, row in rows.items() if any(row)}


def _bare(model: Evidence, key: str) -> Figure | None:
    return Figure(model.metrics[key]) if key in model.metrics else None


def _validation_accuracy(model: Evidence) -> Figure | None:
    if model.confusion is None:
        return _bare(model, "best/val_accuracy")
    return _share(int(np.trace(model.confusion)), int(model.confusion.sum()))


def _test_accuracy(model: Evidence) -> Figure | None:
    if model.test is None:
        return _bare(model, "test/accuracy")
    return _share(int(model.test.correct.sum()), len(model.test.labels))


def _share(correct: int, total: int) -> Figure | None:
    return Figure(correct / total, accuracy_interval(correct, total), total) if total else None


def _classes(models: Sequence[Evidence]) -> tuple[ClassAccuracies | None, tuple[str, ...]]:
    names, unknown = models[0].class_names, [model.name for model in models if model.class_names is None]
    if names is None or unknown:
        return None, (f"accuracy by class is left out: no weights are recorded of {', '.join(unknown)}",)
    if any(model.class_names != names for model in models):
        return None, ("accuracy by class is left out: the models do not know the same classes",)
    if _same_test(models):
        tested = [model.test.confusion(len(names)) for model in models if model.test is not None]
        return ClassAccuracies("test", _by_class(names, tested)), ()
    matrices = [model.confusion for model in models if model.confusion is not None]
    if len(matrices) < len(models):
        return None, ("accuracy by class is left out: not all models have figures of the same images",)
    same_images = len({model.data_digest for model in models}) == 1
    note = "the validation images are not the same for all models, so differences may be theirs"
    return ClassAccuracies("validation", _by_class(names, matrices)), () if same_images else (note,)


def _same_test(models: Sequence[Evidence]) -> bool:
    digests = {model.test_digest for model in models}
    return all(model.test is not None for model in models) and len(digests) == 1 and None not in digests


def _by_class(names: Sequence[str], matrices: Sequence[NDArray[np.int64]]) -> dict[str, Row]:
    hits, totals = [matrix.diagonal() for matrix in matrices], [matrix.sum(axis=1) for matrix in matrices]
    return {
        name: tuple(_share(int(hit[index]), int(total[index])) for hit, total in zip(hits, totals, strict=True))
        for index, name in enumerate(names)
    }


def _pair(first: Evidence, second: Evidence) -> Pair:
    reason = _why_not_paired(first, second)
    if reason or first.test is None or second.test is None:
        return Pair(first.name, second.name, None, reason)
    return Pair(first.name, second.name, compare_paired(first.test.correct, second.test.correct))


def _why_not_paired(first: Evidence, second: Evidence) -> str:
    """Says why two models cannot be tested on the same images; empty if they can."""
    for model in (first, second):
        if model.test is None and "test/accuracy" not in model.metrics:
            return f"{model.name} was not measured on test images (a sweep measures its finalists only)"
        if model.test is None:
            return f"what {model.name} said of each test image is not kept in a form that can be read"
        if model.test_digest is None:
            return f"it is not known on which test images {model.name} was measured"
    same = first.test_digest == second.test_digest
    return "" if same else f"they were measured on different test images ({first.test_digest}, {second.test_digest})"
