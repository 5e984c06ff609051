"""The worst mistakes of a model on the test images, kept for viewing: its most confident wrong predictions."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.trials.predictions import Predictions


@dataclass(frozen=True)
class Mistakes:
    """The most confident mistake comes first; each array but the last has one entry per mistake."""

    images: NDArray[np.uint8]
    """(N, H, W, C)"""
    labels: NDArray[np.int64]
    """(N,) true classes."""
    predicted: NDArray[np.int64]
    """(N,) predicted classes."""
    confidence: NDArray[np.float64]
    """(N,) probabilities of the predicted classes."""
    label_probability: NDArray[np.float64]
    """(N,) probabilities of the true classes."""
    attention: NDArray[np.float32]
    """(N, side, side) attention over the patches; each map sums to 1 (`vit.model.attention_rollout`)."""
    has_class_token: NDArray[np.bool_]
    """() whether the model has a class token. If so, `attention` is that token's, else the mean over the patches."""

    def __len__(self) -> int:
        return len(self.labels)

    def write(self, path: Path) -> None:
        np.savez_compressed(path, allow_pickle=False, **vars(self))

    @staticmethod
    def read(path: Path) -> "Mistakes":
        """Reads what `write` wrote. Raises ValueError or KeyError if the file is something else."""
        with np.load(path, allow_pickle=False) as arrays:
            return Mistakes(**{field.name: arrays[field.name] for field in fields(Mistakes)})


def surest_mistakes(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """The indices of the most confident wrong predictions, at most `count`, in decreasing order of confidence."""
    (wrong,) = np.nonzero(~predictions.correct)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    surest: NDArray[np.int64] = wrong[order][:count].astype(np.int64)
    return surest
