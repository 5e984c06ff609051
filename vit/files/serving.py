"""What a registered model does once it is loaded: uint8 images in, class names and probabilities out.

A copy of this file alone travels inside each registered model (`pipeline/registry/served_model.py`), so it imports
nothing of this project when it runs.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vit.data.normalisation import Normalisation


PROGRAM_FILE = "model.pt2"
"""The exported `Classifier`, under the name that MLflow's pytorch flavor gives it."""
LABELS_FILE = "labels.json"
"""`{"class_names": [...], "image_shape": [H, W, C]}`"""
_BATCH = 256
"""Images per forward pass, so that memory does not grow with the request."""


class Classifier(nn.Module):
    """uint8 images (N, H, W, C) to probabilities float32 (N, num_classes), normalisation included."""

    def __init__(self, model: nn.Module, normalisation: "Normalisation") -> None:
        super().__init__()
        self.model = model
        self.normalisation = normalisation

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(self.normalisation(images))
        return logits.float().softmax(dim=-1)


class Predictor:
    """The python_function face of an exported `Classifier`."""

    def __init__(self, program: nn.Module, class_names: list[str], image_shape: tuple[int, int, int]) -> None:
        self.program = program
        self.class_names = class_names
        self.image_shape = image_shape
        """Height, width and channels of an image."""

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The most probable class of each image, and the probabilities of all in the order of `class_names`.

        Args:
            model_input: uint8 images (N, H, W, C).
            params: MLflow passes it; this model has none.

        Raises:
            ValueError: the input is of another type, dtype or shape.
        """
        self._check(model_input)
        probabilities = self._probabilities(model_input)
        names = [self.class_names[index] for index in probabilities.argmax(axis=1)]
        return pd.DataFrame({"class_name": names, "probabilities": probabilities.tolist()})

    def _check(self, model_input: Any) -> None:
        height, width, channels = self.image_shape
        expected = f"expected uint8 images of shape (N, {height}, {width}, {channels})"
        if not isinstance(model_input, np.ndarray):
            raise ValueError(f"{expected} as a numpy array, but got a {type(model_input).__name__}")
        # Not cast: images scaled to 0..1 would all turn black, and be classified without a complaint.
        if model_input.dtype != np.uint8 or model_input.ndim != 4 or model_input.shape[1:] != self.image_shape:
            raise ValueError(f"{expected}, but got {model_input.dtype} of shape {model_input.shape}")

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        probabilities = np.empty((len(images), len(self.class_names)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.tensor(images[start : start + _BATCH])
                probabilities[start : start + _BATCH] = self.program(batch).numpy()
        return probabilities


def _load_pyfunc(data_path: str) -> Predictor:
    """Called by `mlflow.pyfunc.load_model` with the folder that holds PROGRAM_FILE and LABELS_FILE."""
    folder = Path(data_path)
    labels = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
    program = torch.export.load(folder / PROGRAM_FILE).module()
    return Predictor(program, labels["class_names"], tuple(labels["image_shape"]))
