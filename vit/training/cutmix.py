"""CutMix: a rectangle of each image shows another image, and the label is shared out by area (arXiv:1905.04899)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def paste(images: Tensor, boxes: Tensor) -> Tensor:
    """Fills each image's box with the same pixels of the image after it.

    Args:
        images: (..., N + 1, H, W, C); the last one is only pasted from.
        boxes: int64 (..., N, 4): top and left edge, then bottom and right edge, in pixels; four zeros for no box.

    Returns:
        The first N images with their boxes filled, (..., N, H, W, C).
    """
    height, width = images.shape[-3:-1]
    row = torch.arange(height, device=images.device).view(-1, 1, 1)
    column = torch.arange(width, device=images.device).view(-1, 1)
    top, left, bottom, right = boxes[..., None, None, None, :].unbind(dim=-1)
    in_box = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    return torch.where(in_box, images[..., 1:, :, :, :], images[..., :-1, :, :, :])


def mixed_targets(labels: Tensor, boxes: Tensor, num_classes: int, img_size: int) -> Tensor:
    """The probabilities of the classes for images that `paste` has mixed: each class by its share of the area.

    Args:
        labels: int64 (..., N + 1), those of the images given to `paste`.
        boxes: int64 (..., N, 4), as given to `paste`.
        num_classes: number of classes.
        img_size: height and width of the images, in pixels.

    Returns:
        float32 (..., N, num_classes); where there is no box, the label alone.
    """
    top, left, bottom, right = boxes.unbind(dim=-1)
    share = ((bottom - top) * (right - left) / img_size**2).unsqueeze(-1)
    each = F.one_hot(labels, num_classes).float()
    return torch.lerp(each[..., :-1, :], each[..., 1:, :], share)
