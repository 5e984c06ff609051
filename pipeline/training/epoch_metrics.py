"""Computes an epoch's metrics by the names under which they are tracked."""

import re

from vit.training.fit import Epoch
from vit.training.metrics import Counts

LONGEST_CLASS_NAME = 200
"""How many characters a class's name may take of a metric's name, which has at most 250."""


def epoch_metrics(epoch: Epoch, class_names: tuple[str, ...]) -> dict[str, float]:
    """Returns an epoch's metrics by their tracked names."""
    return {
        "train/loss": epoch.train.loss,
        "train/accuracy": epoch.train.accuracy,
        **counts_metrics("val", epoch.validation, class_names),
        "learning_rate": epoch.learning_rate,
        "images_per_second": epoch.images_per_second,
        "epoch_seconds": epoch.seconds,
        **({"compile_seconds": epoch.compile_seconds} if epoch.compile_seconds else {}),
    }


def class_metric_names(class_names: tuple[str, ...]) -> list[str]:
    """Returns for each class a unique name that MLflow accepts as the last part of a metric's name.

    A class may have any name (`rock & roll`, `../accuracy`), a metric may not.
    """
    names: dict[str, None] = {}
    for class_name in class_names:
        plain = re.sub(r"[^\w. -]", "_", class_name)[:LONGEST_CLASS_NAME]
        plain = plain if plain.strip(".") else f"class{plain.replace('.', '_')}"
        number, name = 1, plain
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names[name] = None
    return list(names)


def counts_metrics(split: str, counts: Counts, class_names: tuple[str, ...]) -> dict[str, float]:
    """Returns the loss, accuracy and accuracy by class of a split; a class without images has no accuracy."""
    by_class = zip(class_metric_names(class_names), counts.class_accuracy, strict=True)
    return {
        f"{split}/loss": counts.loss,
        f"{split}/accuracy": counts.accuracy,
        **{f"{split}/class_accuracy/{name}": value for name, value in by_class if value is not None},
    }
