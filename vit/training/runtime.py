"""Where and how the arithmetic of a training is done, and its images on that device."""

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vit.data.arrays import ImageArrays
from vit.training.precision import Precision


@dataclass(frozen=True)
class Runtime:
    """Where and how the arithmetic is done. What is learnt is not part of this: see `Recipe`."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "fp32"
    compile: bool = False
    """Whether to use torch.compile (which needs a C++ compiler; on a GPU a C compiler, for Triton's launcher)."""


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 and labels (N,) int64 on the device."""

    images: Tensor
    labels: Tensor

    @staticmethod
    def of(arrays: ImageArrays, device: torch.device) -> "Split":
        with warnings.catch_warnings():
            # Arrays shared between processes are read-only; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images, labels = torch.from_numpy(arrays.images), torch.from_numpy(arrays.labels)
        return Split(images.to(device), labels.to(device))
