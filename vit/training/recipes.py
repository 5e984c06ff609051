"""How a ViT is trained: the hyperparameters of one training run, and the recipes that have a name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from vit.data.arrays import DataShape
from vit.model.config import ViTConfig, refuse_all_but_whole_numbers

OptimizerName = Literal["adamw", "muon"]
Schedule = Literal["cosine", "linear"]
AttentionInit = Literal["timm", "mimetic"]
PositionInit = Literal["timm", "sincos"]
PatchInit = Literal["timm", "whitening"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training run. The defaults are the published recipe for CIFAR-10."""

    epochs: int = 30
    """Full length of the run; the learning rate reaches zero at its end."""
    batch_size: int = 128
    """Images per optimizer step over all workers; a smaller training set is one batch."""
    optimizer: OptimizerName = "adamw"
    """`muon`: Muon for the matrices of the blocks, AdamW for all else (`vit.training.muon`)."""
    learning_rate: float = 1e-3
    """The peak learning rate, after warm-up."""
    schedule: Schedule = "cosine"
    """How the learning rate falls from its peak to zero: as half a cosine, or in a straight line."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; norms, biases, positions and tokens are not decayed."""
    warmup_epochs: float = 0.0
    """Length of the linear warm-up, in epochs; in a run that is no longer, the learning rate only rises to the peak."""
    label_smoothing: float = 0.0
    clip_grad: float = 0.0
    """Largest norm to which the gradient of all parameters is clipped; 0 means no clipping."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights that is validated and kept; 0 keeps the plain weights."""
    attention_init: AttentionInit = "timm"
    """How attention starts (`vit.training.initialisation`); `mimetic`: with weights like those of trained models."""
    position_init: PositionInit = "timm"
    """How the position embeddings start; `sincos`: as sines and cosines of row and column."""
    patch_init: PatchInit = "timm"
    """How the layer that sees the pixels starts; `whitening`: as principal components of the training patches."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    flip_alternates: bool = False
    """Mirror an image in every second epoch rather than by chance (Jordan 2024, arXiv:2404.00498); needs `flip`."""
    rotation: float = 15.0
    """Largest rotation of a training image, in degrees."""
    crop_padding: int = 0
    """Largest shift of a training image, in pixels: it is padded with black and cropped at random."""
    cutout: int = 0
    """Side of a square that is blackened in half of the training images, in pixels (arXiv:1708.04552)."""
    cutmix: float = 0.0
    """Share of the training images of which a rectangle shows another image (`vit.training.cutmix`)."""

    def __post_init__(self) -> None:
        refuse_all_but_whole_numbers(self, {"epochs": 1, "batch_size": 1, "crop_padding": 0, "cutout": 0})
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be above 0 and finite")
        for name in ("weight_decay", "warmup_epochs", "clip_grad"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0 and finite")
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")
        if not 0 <= self.cutmix <= 1:
            raise ValueError(f"cutmix is {self.cutmix}, but must be from 0 to 1")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation is {self.rotation}, but must be from 0 to 180 degrees")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(known)}")
        if self.flip_alternates and not self.flip:
            raise ValueError("flip_alternates is True, but must be False where flip is False")


CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(Schedule),
    "attention_init": get_args(AttentionInit),
    "position_init": get_args(PositionInit),
    "patch_init": get_args(PatchInit),
}
"""The values allowed for the fields of a recipe that are chosen by name."""


def refuse_mirroring(recipe: Recipe, shape: DataShape) -> None:
    """Raises ValueError if the recipe mirrors images whose mirror image may be of another class."""
    if recipe.flip and not shape.mirror_safe:
        raise ValueError("flip is True, but must be False for these images: a mirror image may be of another class")


PUBLISHED_MODEL = ViTConfig()
PUBLISHED_RECIPE = Recipe()
"""The recipe `seed`: AdamW, cosine annealing, flips and rotations. It was published with about 60% test accuracy on
CIFAR-10 in 30 epochs; measured here: 67.24% (n = 1, on a CPU in fp32, from JPEG; docs/experiments.md)."""


def published_patch_size(img_size: int) -> int:
    """The published patch size (patches 4 pixels wide, 8 to a side), fitted to another image size.

    The divisor of `img_size` nearest (by ratio) to an eighth of it, or to 4 pixels where that is more: 4 for images
    of 8, 28 and 32 pixels, 28 for 224.
    """
    return _nearest_divisor(img_size, max(PUBLISHED_MODEL.patch_size, img_size / 8))


def _nearest_divisor(img_size: int, target: float) -> int:
    """The divisor of `img_size` nearest to the target by ratio; of two that are equally near, the smaller."""
    divisors = [size for size in range(1, img_size + 1) if img_size % size == 0]
    return min(divisors, key=lambda size: max(size / target, target / size))


def published(shape: DataShape, epochs: int = PUBLISHED_RECIPE.epochs) -> tuple[ViTConfig, Recipe]:
    """The published model and recipe, fitted to a data set and to a training length."""
    model = replace(
        PUBLISHED_MODEL,
        img_size=shape.img_size,
        in_chans=shape.in_chans,
        num_classes=shape.num_classes,
        patch_size=published_patch_size(shape.img_size),
    )
    return model, replace(PUBLISHED_RECIPE, epochs=epochs, flip=shape.mirror_safe)


def fast30(shape: DataShape) -> tuple[ViTConfig, Recipe]:
    """The published shape with mean pooling, trained by the best known recipe of 30 epochs; 2.69 M parameters.

    Expected on CIFAR-10 (JPEG, 45,000 training images): 85.72% test accuracy, or 86.04% with the mirror image of each
    test image, n = 1, in about 62 minutes on 2 cores with bf16 (AMD EPYC, torch 2.15.0, 2026-11-29). What each part of
    the recipe adds is in docs/experiments.md.
    """
    model, _ = published(shape)
    recipe = Recipe(
        optimizer="muon",
        learning_rate=3e-3,
        schedule="linear",
        weight_decay=0.05,
        warmup_epochs=1.0,
        label_smoothing=0.1,
        ema_decay=0.995,
        attention_init="mimetic",
        position_init="sincos",
        patch_init="whitening",
        flip=shape.mirror_safe,
        flip_alternates=shape.mirror_safe,
        rotation=0.0,
        crop_padding=shape.img_size // 8,
        cutout=shape.img_size // 4,
        cutmix=0.5,
    )
    return replace(model, global_pool="avg"), recipe


def fast30_conv(shape: DataShape) -> tuple[ViTConfig, Recipe]:
    """`fast30` with a convolutional stem; 2.80 M parameters.

    It is better than `fast30` in short trainings; after 30 epochs it was not. Expected on CIFAR-10 (JPEG, 45,000
    training images): 83.54% test accuracy, or 83.86% with the mirror image of each test image, n = 1, in 68 minutes on
    2 cores with bf16 (AMD EPYC, torch 2.15.0, 2026-11-29).
    """
    model, recipe = fast30(shape)
    return replace(model, stem="conv"), recipe


def two(shape: DataShape) -> tuple[ViTConfig, Recipe]:
    """A recipe for two epochs: `fast30` without what pays off only in longer trainings.

    Expected on CIFAR-10 (JPEG, 45,000 training images): 66.83% +- 0.50 test accuracy, or 68.07% +- 0.63 with the mirror
    image of each test image, n = 3, in 260 s of training on 2 cores with bf16 (Intel Xeon, torch 2.15.0, 2026-11-25).
    """
    model, recipe = fast30(shape)
    return model, replace(
        recipe, epochs=2, warmup_epochs=0.1, label_smoothing=0.0, ema_decay=0.0, flip_alternates=False, cutout=0,
        cutmix=0.0,
    )  # fmt: skip


def long(shape: DataShape) -> tuple[ViTConfig, Recipe]:
    """A recipe of 200 epochs for a GPU: four times the tokens, regularised for its length. It has not been run yet."""
    model, recipe = fast30_conv(shape)
    patch_size = _nearest_divisor(model.img_size, model.patch_size / 2)
    model = replace(model, patch_size=patch_size, mlp_ratio=2.5, drop_path_rate=0.1)
    return model, replace(recipe, epochs=200, learning_rate=2e-3, weight_decay=0.1, batch_size=256, ema_decay=0.999)


RECIPES: dict[str, Callable[[DataShape], tuple[ViTConfig, Recipe]]] = {
    "seed": published,
    "fast30": fast30,
    "fast30-conv": fast30_conv,
    "two": two,
    "long": long,
}
"""The recipes that `pipeline.train` can train, by name; each gives a model and a recipe for a data set's shape."""
