"""Makes scores from given numbers, for the tests of the rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.promote.latency import Latency
from pipeline.promote.scoring import Score
from pipeline.trials.predictions import Predictions

CLASSES = ("ant", "bee")


def score_of(
    wrong: Sequence[int] = (), images: int = 400, confidence: float = 1.0, milliseconds: float = 1.0, **more: Any
) -> Score:
    """Returns the score of a model that errs only on the images `wrong`; the first half of the images are ants."""
    labels = np.repeat([0, 1], images // 2)
    predicted = labels.copy()
    predicted[list(wrong)] = 1 - predicted[list(wrong)]
    sure = np.full(images, confidence)
    latencies = {batch: Latency(np.full(20, milliseconds)) for batch in (1, 32)}
    fields = {"version": 1, "files": "sha256:x", "size": 1000, "parameters": 100, "corrupted_correct": {}, **more}
    return Score(predictions=Predictions(labels, predicted, sure, sure), latencies=latencies, **fields)
