"""Collects the winner's worst mistakes, each with its attention map, so that the page can show them anywhere."""

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
"""Pixels per side of a kept image; larger images are scaled down."""


def winner_mistakes(weights: Folder, test: ImageArrays, predictions: Predictions) -> Mistakes:
    """Returns the wrong predictions of which a model was most confident, at most 12.

    Args:
        weights: the folder with the model's weights.
        test: the images that the model was evaluated on.
        predictions: the model's predictions for these images.

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
    """Returns the images (N, H, W, C), scaled down if they have more than `side` pixels per side."""
    if images.shape[1] <= side:
        return images
    smaller = [Image.fromarray(image.squeeze()).resize((side, side), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in smaller]).reshape(len(images), side, side, images.shape[3])
