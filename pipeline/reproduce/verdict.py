"""Judges whether a repeated training came out the same."""

from dataclasses import dataclass
from typing import Literal

from pipeline.registry.passport import Passport

Sameness = Literal["bit for bit", "within the interval", "otherwise"]


@dataclass(frozen=True)
class Verdict:
    """How a repeated training compares with the one of the passport. Accuracies are fractions of validation images."""

    sameness: Sameness
    as_expected: bool
    """Whether it is the same: bit for bit if nothing differs and the original used no GPU, else within the interval."""
    accuracy: float
    accuracy_then: float
    text: str


def judge(passport: Passport, weights_digest: str, accuracy: float, nothing_differs: bool) -> Verdict:
    """Compares the weights, then the validation accuracies; the test images are not read again for it.

    Args:
        passport: the passport of the original training.
        weights_digest: the digest of the weights with which the repeated training ended.
        accuracy: the best validation accuracy of the repeated training.
        nothing_differs: whether code, packages and machine are the same; then a CPU repeats every bit.
    """
    then, interval = passport.figures.measured.val_accuracy, passport.figures.val_interval
    figures = f"validation {accuracy:.2%}, then {then:.2%}"
    if weights_digest == passport.weights_digest:
        return Verdict("bit for bit", True, accuracy, then, f"the same, bit for bit: {figures}")
    within = interval.low <= accuracy <= interval.high
    count = passport.data.validation_images
    images = f"the 95% interval of {count:,} images, {interval.low:.2%} to {interval.high:.2%}"
    on_gpu = any(machine.gpu for machine in passport.machines)
    bits_expected = nothing_differs and not on_gpu
    if within and not bits_expected:
        return Verdict("within the interval", True, accuracy, then, f"the same within {images}: {figures}")
    if within:
        text = f"not the same bits, though nothing differs; within {images}: {figures}"
        return Verdict("within the interval", False, accuracy, then, text)
    return Verdict("otherwise", False, accuracy, then, f"the result is different, outside {images}: {figures}")
