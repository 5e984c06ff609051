"""How a ViT is trained: the hyperparameters of one training run, and the published recipe."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from vit.data.arrays import DataShape
from vit.model.config import ViTConfig


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training run. The defaults are the published recipe for CIFAR-10."""

    epochs: int = 30
    """Full length of the run; the cosine reaches zero at its end."""
    batch_size: int = 128
    """Images per optimizer step over all workers; a smaller training set is one batch."""
    learning_rate: float = 1e-3
    """The peak, after warm-up."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; norms, biases, positions and tokens are not decayed."""
    warmup_epochs: float = 0.0
    """Length of the linear warm-up, in epochs; a run no longer than it only rises to the peak."""
    label_smoothing: float = 0.0
    clip_grad: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights that is validated and kept; 0 keeps the plain weights."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    rotation: float = 15.0
    """Largest rotation of a training image, in degrees."""
    crop_padding: int = 0
    """Largest shift of a training image by a crop out of its padded self, in pixels."""

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 1), ("crop_padding", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {low}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be above 0")
        for name in ("weight_decay", "warmup_epochs", "clip_grad"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0")
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation is {self.rotation}, but must be from 0 to 180 degrees")


PUBLISHED_MODEL = ViTConfig()
PUBLISHED_RECIPE = Recipe()
"""`seed`: AdamW, cosine annealing, flips and rotations. Expected: about 60% test accuracy on CIFAR-10 in 30 epochs."""


def published_patch_size(img_size: int) -> int:
    """The published patches, 4 pixels wide and 8 to a side, fitted to another image size.

    The divisor of `img_size` nearest (by ratio) to an eighth of it, or to 4 pixels where that is more: 4 for images
    of 8, 28 and 32 pixels, 28 for 224.
    """
    target = max(PUBLISHED_MODEL.patch_size, img_size / 8)
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


RECIPES: dict[str, Callable[[DataShape], tuple[ViTConfig, Recipe]]] = {"seed": published}
"""What `pipeline.train` can train, by name: a model and a recipe for a data set's shape."""
