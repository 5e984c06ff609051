"""Puts the result of a sweep into a few sentences."""

from collections.abc import Mapping
from typing import Any

from pipeline.page.number_texts import points
from pipeline.page.sweep_records import PUBLISHED, WINNER
from pipeline.statistics.intervals import accuracy_interval
from pipeline.statistics.paired import compare_paired
from pipeline.trials.predictions import Predictions


def result_sentence(summary: Mapping[str, Any]) -> str:
    """Says which configuration won, and how accurate it is on the test images."""
    winner, published = summary["winner"], summary["baseline"]
    trainings = len(winner["test_accuracies"])
    basis = "one training" if trainings == 1 else f"mean of {trainings} seeds"
    tested = f"{winner['test_mean']:.2%} of the test images right ({basis})"
    if winner["published"]:
        return f"The published configuration stays the best: {tested}."
    gain = points(winner["test_mean"] - published["test_mean"])
    return f"Trial {winner['trial']} is best: {tested}, {gain} points against the published configuration."


def certainty_sentences(predictions: Mapping[str, Predictions]) -> list[str]:
    """Says how certain the result is: the intervals of the registered training, if its predictions are recorded."""
    if WINNER not in predictions:
        return []
    winner = predictions[WINNER].correct
    right, total = int(winner.sum()), len(winner)
    interval = accuracy_interval(right, total)
    sentences = [
        f"Its best training has {right:,} of {total:,} right: {right / total:.2%}, 95% interval "
        f"{interval.low:.2%} to {interval.high:.2%}."
    ]
    if PUBLISHED in predictions:
        found = compare_paired(predictions[PUBLISHED].correct, winner)
        sentences.append(
            f"Against the published configuration's best training, on the same images: {points(found.difference)} "
            f"points, 95% interval {points(found.interval.low)} to {points(found.interval.high)} (McNemar's exact "
            f"test: {found.p_text})."
        )
    return sentences
