"""Decides what two models' answers about the same images prove: which is better, or that they are the same."""

from typing import Literal

from pipeline.statistics.paired import PairedComparison

Standing = Literal["better", "same", "worse", "not proven"]
SIGNIFICANCE = 0.05
"""The significance level of McNemar's test."""


def standing_of(comparison: PairedComparison, equivalence_margin: float) -> Standing:
    """Returns how the second model compares with the first.

    - better: the 95% interval of the difference lies above 0, and McNemar's p is below 0.05.
    - worse: the interval lies below 0, and p is below 0.05.
    - same: neither of the two, and the whole interval lies within `equivalence_margin` of 0: more images would hardly
      tell the models apart (a test of equivalence by the interval, Schuirmann 1987,
      https://doi.org/10.1007/BF01068419).
    - not proven: anything else. More test images might decide it.
    """
    low, high = comparison.interval.low, comparison.interval.high
    if comparison.p_value < SIGNIFICANCE and low > 0:
        return "better"
    if comparison.p_value < SIGNIFICANCE and high < 0:
        return "worse"
    if -equivalence_margin <= low and high <= equivalence_margin:
        return "same"
    return "not proven"
