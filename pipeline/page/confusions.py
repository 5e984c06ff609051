"""Which classes a model takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were taken for another."""

    true: int
    predicted: int
    count: int
    total: int
    """Images of the true class."""

    @property
    def share(self) -> float:
        """Of the true class."""
        return self.count / self.total

    def in_words(self, class_names: Sequence[str]) -> str:
        """`cat taken for dog: 264 of 1,000`."""
        return f"{class_names[self.true]} taken for {class_names[self.predicted]}: {self.count:,} of {self.total:,}"


def most_confused(confusion: NDArray[np.int64], count: int) -> list[Confusion]:
    """At most `count` pairs, that of most images first; of equals, that of the largest share of its true class."""
    totals = confusion.sum(axis=1)
    pairs = [
        Confusion(int(true), int(predicted), int(confusion[true, predicted]), int(totals[true]))
        for true, predicted in zip(*np.nonzero(confusion), strict=True)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.total, pair.true, pair.predicted))[:count]
