"""Predicts images with a model, and counts how often it is right."""

from collections.abc import Callable

import torch
from torch import Tensor

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.metrics import Counter, Counts
from vit.training.precision import autocast
from vit.training.runtime import Runtime, Split

EVALUATION_BATCH = 512
"""Images in one batch where they are at most `LARGEST_SIDE` pixels wide."""
LARGEST_SIDE = 32


def evaluation_batch(config: ViTConfig) -> int:
    """How many images are evaluated in one batch: 512 of up to 32x32; of larger ones fewer, with no more pixels in all.

    So a model that can be trained can also be validated: from 64 pixels on, this is at most the usual batch of 128.
    """
    return max(1, EVALUATION_BATCH * LARGEST_SIDE**2 // max(LARGEST_SIDE, config.img_size) ** 2)


@torch.inference_mode()
def predict(
    model: VisionTransformer,
    images: Tensor,
    normalise: Callable[[Tensor], Tensor],
    runtime: Runtime,
    with_mirror: bool = False,
) -> Tensor:
    """Logits float32 (N, num_classes) of uint8 images (N, H, W, C), on the images' device.

    With `with_mirror`, each is the mean of the logits of an image and of its mirror image.
    """
    model.eval()
    logits = []
    for batch in images.split(evaluation_batch(model.config)):
        views = [normalise(batch), normalise(batch.flip(2))] if with_mirror else [normalise(batch)]
        with autocast(runtime.device, runtime.precision):
            logits.append(torch.stack([model(view).float() for view in views]).mean(dim=0))
    return torch.cat(logits)


def evaluate(model: VisionTransformer, split: Split, normalise: Callable[[Tensor], Tensor], runtime: Runtime) -> Counts:
    """Evaluates every image of the split once, and returns the counts over all of them."""
    counter = Counter(model.config.num_classes, runtime.device)
    if len(split.labels):
        counter.add(predict(model, split.images, normalise, runtime), split.labels)
    return counter.counts()
