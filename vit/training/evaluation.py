"""What a model says of images, and how often it is right."""

from collections.abc import Callable

import torch
from torch import Tensor

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.metrics import Counter, Counts
from vit.training.precision import autocast
from vit.training.runtime import Runtime, Split

EVALUATION_BATCH = 512
"""Images at once, of `LARGEST_SIDE` pixels and below."""
LARGEST_SIDE = 32


def evaluation_batch(config: ViTConfig) -> int:
    """How many images a model is shown at once: of large ones as many as have the pixels of 512 of 32x32.

    What can be trained can so be validated: from 64 pixels on these are no more than the usual batch of 128.
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

    `with_mirror` gives the mean of what the model says of an image and of its mirror image.
    """
    model.eval()
    logits = []
    for batch in images.split(evaluation_batch(model.config)):
        views = [normalise(batch), normalise(batch.flip(2))] if with_mirror else [normalise(batch)]
        with autocast(runtime.device, runtime.precision):
            logits.append(torch.stack([model(view).float() for view in views]).mean(dim=0))
    return torch.cat(logits)


def evaluate(model: VisionTransformer, split: Split, normalise: Callable[[Tensor], Tensor], runtime: Runtime) -> Counts:
    """Counts over every image of the split, each once."""
    counter = Counter(model.config.num_classes, runtime.device)
    if len(split.labels):
        counter.add(predict(model, split.images, normalise, runtime), split.labels)
    return counter.counts()
