"""The code that a registered model runs once it is loaded: it takes images and returns class names and probabilities.

Copies of this file and of `vit/data/pixels.py` travel inside each registered model
(`pipeline/registry/served_model.py`), so it imports nothing else of this project when it runs.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vit.data.pixels import ImageError, decode_for_model

if TYPE_CHECKING:
    from vit.data.normalisation import Normalisation


PROGRAM_FILE = "model.pt2"
"""The exported `Classifier`, under the name that MLflow's pytorch flavor gives it."""
LABELS_FILE = "labels.json"
"""`{"class_names": [...], "image_shape": [H, W, C]}`"""
_BATCH = 256
"""Images per forward pass, so that memory does not grow with the request."""


class Classifier(nn.Module):
    """Maps uint8 images (N, H, W, C) to probabilities float32 (N, num_classes), normalisation included."""

    def __init__(self, model: nn.Module, normalisation: "Normalisation") -> None:
        super().__init__()
        self.model = model
        self.normalisation = normalisation

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(self.normalisation(images))
        return logits.float().softmax(dim=-1)


class Predictor:
    """Wraps an exported `Classifier` for MLflow's `python_function` flavor."""

    def __init__(
        self, program: nn.Module, class_names: Sequence[str], image_shape: tuple[int, int, int], device: str = "cpu"
    ) -> None:
        self.program = program
        self.class_names = class_names
        self.image_shape = image_shape
        """Height, width and channels of an image."""
        self.device = device
        """The device that holds the program's weights."""

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The most probable class of each image, and the probabilities of all in the order of `class_names`.

        MLflow's own check by a signature knows only one type of input, and would cast the values in JSON to it. So the
        model has no signature of its input, and all input is checked here.

        Args:
            model_input: whole numbers from 0 to 255 (N, H, W, C), as an array or nested lists; or a list of N strings,
                each a JPEG or PNG file in base64, of any size; or one of the two as the column `image` of a DataFrame
                or dictionary.
            params: MLflow passes them, but this model has none.

        Raises:
            ValueError: the input is of another type or shape, or an image cannot be read.
        """
        images = _column(model_input)
        if len(images) and all(isinstance(image, str) for image in images):
            pixels = np.stack([self._decoded(index, text) for index, text in enumerate(images)])
        else:
            pixels = self._checked(np.asarray(images))
        probabilities = self.probabilities(pixels)
        names = [self.class_names[index] for index in probabilities.argmax(axis=1)]
        return pd.DataFrame({"class_name": names, "probabilities": probabilities.tolist()})

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (N, num_classes) of uint8 images (N, H, W, C)."""
        probabilities = np.empty((len(images), len(self.class_names)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.tensor(images[start : start + _BATCH], device=self.device)
                probabilities[start : start + _BATCH] = self.program(batch).cpu().numpy()
        return probabilities

    def _decoded(self, index: int, text: str) -> np.ndarray:
        img_size, _, channels = self.image_shape
        try:
            return decode_for_model(base64.b64decode(text, validate=True), img_size, channels)
        except ImageError as error:
            raise ValueError(f"image {index} {error}") from error
        except ValueError as error:
            raise ValueError(f"image {index} is a string, but not a file in base64: {error}") from error

    def _checked(self, images: np.ndarray) -> np.ndarray:
        height, width, channels = self.image_shape
        expected = (
            f"expected whole numbers from 0 to 255 of shape (N, {height}, {width}, {channels}), or JPEG or PNG files as"
            " strings in base64"
        )
        # Not cast, since images scaled to 0..1 would all turn black and be classified without an error.
        if images.dtype.kind not in "iu" or images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise ValueError(f"{expected}, but got {images.dtype} of shape {images.shape}")
        if images.dtype != np.uint8 and len(images) and not 0 <= images.min() <= images.max() <= 255:
            raise ValueError(f"{expected}, but got numbers from {images.min()} to {images.max()}")
        return images.astype(np.uint8, copy=False)


def _column(model_input: Any) -> Any:
    """The images of an input, as something that has a length and can be iterated over."""
    if isinstance(model_input, pd.DataFrame | dict):
        if list(model_input) != ["image"]:
            raise ValueError(f"expected the column image and no other, but got {', '.join(map(str, model_input))}")
        model_input = model_input["image"]
    if isinstance(model_input, pd.Series):
        model_input = model_input.tolist()
    if not isinstance(model_input, list) and getattr(model_input, "ndim", 0) == 0:
        raise ValueError("expected an array or a list of images, but got a single value")
    return model_input


def read_labels(folder: Path) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """The class names and the shape of an image, as LABELS_FILE in the folder gives them."""
    labels = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
    height, width, channels = labels["image_shape"]
    return tuple(labels["class_names"]), (height, width, channels)


def _load_pyfunc(data_path: str) -> Predictor:
    """Called by `mlflow.pyfunc.load_model` with the folder that holds PROGRAM_FILE and LABELS_FILE."""
    class_names, image_shape = read_labels(Path(data_path))
    program = torch.export.load(Path(data_path) / PROGRAM_FILE).module()
    return Predictor(program, class_names, image_shape)
