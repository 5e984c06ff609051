"""The winner's worst mistakes, with what each answer draws on, so that the page can show them anywhere."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.page.mistakes import Mistakes, surest_mistakes
from pipeline.trials.predictions import Predictions
from vit.data.arrays import ImageArrays
from vit.files.checkpoint import load_model
from vit.files.storage import Folder
from vit.model.attention_rollout import attention_map

KEPT = 12
LARGEST_SIDE = 160
"""Pixels of a kept image's longer side; what is larger is made smaller."""


def winner_mistakes(weights: Folder, test: ImageArrays, predictions: Predictions) -> Mistakes:
    """The wrong answers of which a model was surest, at most 12.

    Args:
        weights: of the model.
        test: the images that it was measured on.
        predictions: its answers.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    chosen = surest_mistakes(predictions, KEPT)
    model, card = load_model(weights)
    images, side = test.images[chosen], card.model.img_size // card.model.patch_size
    attention = np.zeros((0, side, side), dtype=np.float32)
    if len(chosen):
        attention = attention_map(model, card.normalisation(torch.from_numpy(images))).numpy()
    return Mistakes(
        _at_most(images, LARGEST_SIDE),
        predictions.labels[chosen],
        predictions.predicted[chosen],
        predictions.confidence[chosen],
        predictions.label_probability[chosen],
        attention,
        np.array(model.cls_token is not None),
    )


def _at_most(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Images (N, H, W, C) no larger than so many pixels a side."""
    if images.shape[1] <= side:
        return images
    smaller = [Image.fromarray(image.squeeze()).resize((side, side), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in smaller]).reshape(len(images), side, side, images.shape[3])
