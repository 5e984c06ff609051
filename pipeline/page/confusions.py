"""The pairs of classes that a model confuses most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """The images of one class that a model took for another."""

    true: int
    predicted: int
    count: int
    total: int
    """All images of the true class."""

    @property
    def share(self) -> float:
        """The confused images as a fraction of the true class."""
        return self.count / self.total

    def in_words(self, class_names: Sequence[str]) -> str:
        """The confusion in words: `cat taken for dog: 264 of 1,000`."""
        return f"{class_names[self.true]} taken for {class_names[self.predicted]}: {self.count:,} of {self.total:,}"


def most_confused(confusion: NDArray[np.int64], count: int) -> list[Confusion]:
    """Returns at most `count` pairs, the one with the most images first.

    Among pairs with as many images, the one with the largest share of its true class comes first.
    """
    totals = confusion.sum(axis=1)
    pairs = [
        Confusion(int(true), int(predicted), int(confusion[true, predicted]), int(totals[true]))
        for true, predicted in zip(*np.nonzero(confusion), strict=True)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.total, pair.true, pair.predicted))[:count]
