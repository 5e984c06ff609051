"""Loads a version's exported program from its files and computes probabilities with it."""

from dataclasses import dataclass

import mlflow.pytorch
import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import GateRefusedError
from pipeline.promote.model_copy import ModelCopy
from pipeline.promote.test_images import TestImages
from pipeline.registry.model_files import DATA
from vit.files.serving import Predictor, read_labels


@dataclass(frozen=True)
class LoadedModel:
    """A version that has been loaded onto the CPU."""

    copy: ModelCopy
    predictor: Predictor

    @property
    def program(self) -> nn.Module:
        """The exported program, which maps uint8 images (N, H, W, C) to probabilities (N, num_classes)."""
        return self.predictor.program

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.program.parameters())

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the probabilities (N, num_classes) of uint8 images (N, H, W, C)."""
        found: NDArray[np.float32] = self.predictor.probabilities(images)
        return found


def load_model(copy: ModelCopy, test: TestImages) -> LoadedModel:
    """Loads a version's exported program without running any code from the version's files.

    Raises:
        GateRefusedError: the program cannot be loaded, or is made for other classes or image shapes than `test` has.
    """
    who = f"version {copy.version}"
    try:
        class_names, shape = read_labels(copy.folder / DATA)
        program = mlflow.pytorch.load_model(str(copy.folder))
    except Exception as error:  # torch, zip and MLflow each raise their own errors for a broken file
        raise GateRefusedError(f"{who} cannot be loaded from its files ({type(error).__name__}: {error})") from error
    if class_names != test.class_names:
        raise GateRefusedError(f"{who} knows the classes {class_names}, but the test images have {test.class_names}")
    if shape != test.images.images.shape[1:]:
        raise GateRefusedError(f"{who} takes images of {shape}, but the test images are {test.images.images.shape[1:]}")
    return LoadedModel(copy, Predictor(program, class_names, shape))
