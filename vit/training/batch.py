"""Makes the batches of a training: the images chosen, augmented and mixed, and their targets."""

from torch import Tensor

from vit.training.augment import Draws, augment
from vit.training.cutmix import mixed_targets, paste
from vit.training.runtime import Split


def training_batch(
    train: Split, order: Tensor, draws: Draws, places: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Makes a batch of one training, or of K fused ones; these have the leading dimension K where `...` stands.

    CutMix takes its boxes from the next image of the epoch, so it does not matter how workers share a batch.

    Args:
        train: all training images.
        order: int64 (..., N), the images' order in this epoch.
        draws: the augmentation of the images in that order; the tensors begin with (..., N).
        places: int64 (n + 1), the places of the batch's images in that order, and the place after the last of them.
        num_classes: number of classes.

    Returns:
        Images, uint8 (..., n, H, W, C), and targets, float32 (..., n, num_classes).
    """
    last = order.ndim - 1
    places = places % order.shape[last]
    chosen, drawn = order[..., places], draws.each(lambda tensor: tensor.index_select(last, places))
    flat = augment(train.images[chosen.flatten()], drawn.each(lambda tensor: tensor.flatten(0, last)))
    images, boxes = flat.unflatten(0, chosen.shape), drawn.box[..., :-1, :]
    return paste(images, boxes), mixed_targets(train.labels[chosen], boxes, num_classes, images.shape[-2])
