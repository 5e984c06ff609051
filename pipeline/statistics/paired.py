"""Compares two models on the same images: whether one is right more often than the other, and by how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from pipeline.statistics.bootstrap import bootstrap_mean
from pipeline.statistics.intervals import Interval


@dataclass(frozen=True)
class PairedComparison:
    """How two models compare, by the images on which only one is right. Accuracies and differences are fractions."""

    images: int
    only_first: int
    """Images that the first model alone gets right."""
    only_second: int
    p_value: float
    """McNemar's exact test: how often chance alone would make two equally good models differ at least this much."""
    interval: Interval
    """The 95% interval of the difference, by the paired bootstrap over the images."""

    @property
    def difference(self) -> float:
        """The second model's accuracy minus the first one's."""
        return (self.only_second - self.only_first) / self.images

    @property
    def p_text(self) -> str:
        """The p-value as text, such as `p = 0.031`; one that is too small for a float is not shown as zero."""
        return f"p = {self.p_value:.2g}" if self.p_value else "p < 1e-300"


def compare_paired(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]) -> PairedComparison:
    """Compares two models on the same images, each given as whether it is right about each image (N,).

    The p-value is that of McNemar's exact test (McNemar 1947, https://doi.org/10.1007/BF02295996): among the images on
    which only one model is right, the share of either model is tested against a half, two-sided. The bootstrap draws
    the same images for both models, so that what is easy or hard for both cancels out.

    Raises:
        ValueError: there are no images, or the two models have different numbers of them.
    """
    if len(first_correct) != len(second_correct) or not len(first_correct):
        raise ValueError(f"{len(first_correct)} and {len(second_correct)} images, but must be the same, at least one")
    images = len(first_correct)
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    disagree = only_first + only_second
    p_value = float(binomtest(only_second, disagree).pvalue) if disagree else 1.0
    interval = bootstrap_mean((-1, 1, 0), (only_first, only_second, images - disagree))
    return PairedComparison(images, only_first, only_second, p_value, interval)
