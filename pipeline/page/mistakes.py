"""The worst mistakes of a model on the test images: those of whose wrong answer it was surest, kept to be looked at."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.trials.predictions import Predictions


@dataclass(frozen=True)
class Mistakes:
    """The surest first; all arrays have an entry for each."""

    images: NDArray[np.uint8]
    """(N, H, W, C)"""
    labels: NDArray[np.int64]
    """(N,) true classes."""
    predicted: NDArray[np.int64]
    """(N,) classes that were said."""
    confidence: NDArray[np.float64]
    """(N,) probabilities of the classes that were said."""
    label_probability: NDArray[np.float64]
    """(N,) probabilities of the true classes."""
    attention: NDArray[np.float32]
    """(N, side, side) over the patches, each summing to 1 (`vit.model.attention_rollout`)."""
    has_class_token: NDArray[np.bool_]
    """() whether the model has one; else the attention is the mean over the patches."""

    def __len__(self) -> int:
        return len(self.labels)

    def write(self, path: Path) -> None:
        np.savez_compressed(path, allow_pickle=False, **vars(self))

    @staticmethod
    def read(path: Path) -> "Mistakes":
        """What `write` wrote. Raises ValueError or KeyError where the file is something else."""
        with np.load(path, allow_pickle=False) as arrays:
            return Mistakes(**{field.name: arrays[field.name] for field in fields(Mistakes)})


def surest_mistakes(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Where the wrong answers of the highest confidence stand, at most `count`, the surest first."""
    (wrong,) = np.nonzero(~predictions.correct)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    surest: NDArray[np.int64] = wrong[order][:count].astype(np.int64)
    return surest
