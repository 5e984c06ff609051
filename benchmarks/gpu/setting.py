"""What all parts share: the device, the images, how much of everything is measured, and how much time is left."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.gpu.images import Images
from benchmarks.gpu.table import Measured, Table
from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.training.precision import Precision
from vit.training.recipes import RECIPES, Recipe
from vit.training.runtime import Runtime, Split


class TimeLimitError(Exception):
    """The time for all parts is used up."""


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured."""

    miniature: bool = False
    batches: tuple[int, ...] = (128, 256, 512, 1024)
    batch: int = 128
    """The batch size where only one is measured."""
    fused: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    epochs: int = 5
    """Epochs to take the median of; fewer if they take more than `seconds`, not counting the first warm-up."""
    warm_ups: int = 2
    """Warm-up epochs, at least one."""
    seconds: float = 20.0
    rounds: int = 7
    """Rounds to take the median of, where less than an epoch is timed."""
    seeds: int = 5
    recipe_epochs: int = 30
    trials: int = 32
    golden_passes: int = 39
    """Passes over ten batches, which together have as many steps as an epoch."""


FULL = Scale()
TINY = Scale(True, (16,), 16, (1, 2), epochs=1, warm_ups=1, seconds=1.0, rounds=2, seeds=2, recipe_epochs=2, trials=4,
             golden_passes=2)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    device: torch.device
    scale: Scale
    images: Images
    table: Table
    """What has been measured so far."""
    end: float
    """When the time is up, by `time.monotonic`."""

    @property
    def normalisation(self) -> Normalisation:
        return self.images.normalisation

    @property
    def precision(self) -> Precision:
        return "bf16" if self.device.type == "cuda" else "fp32"

    def runtime(self, compile_it: bool, precision: Precision | None = None) -> Runtime:
        return Runtime(self.device, precision or self.precision, compile_it)

    @property
    def ways(self) -> tuple[bool, ...]:
        """Uncompiled and compiled; in miniature only uncompiled, since compiling takes as long as for a real model."""
        return (False,) if self.scale.miniature else (False, True)

    def recipe(self, name: str, **changes: object) -> tuple[ViTConfig, Recipe]:
        """A model and a recipe by name, for these images, with changes of the recipe."""
        model, recipe = RECIPES[name](self.images.shape)
        if self.scale.miniature:
            model = replace(model, embed_dim=16, depth=1, num_heads=1)
        return model, replace(recipe, **{"batch_size": self.scale.batch, **changes})  # type: ignore[arg-type]

    def splits(self) -> tuple[Split, Split, Split]:
        """Training, validation and test images, on the device."""
        images = self.images
        train, validation, test = (
            Split.of(each, self.device) for each in (images.train, images.validation, images.test)
        )
        return train, validation, test

    def all_training_images(self) -> tuple[Split, Split]:
        """Training and validation images together (50,000 of CIFAR-10), and a few for a very short validation."""
        train, validation, _ = self.splits()
        together = Split(torch.cat((train.images, validation.images)), torch.cat((train.labels, validation.labels)))
        few = self.scale.batch
        return together, Split(validation.images[:few], validation.labels[:few])

    def seconds_left(self) -> float:
        return self.end - time.monotonic()

    def check_time(self) -> None:
        """Raises TimeLimitError where the time is up."""
        if self.seconds_left() <= 0:
            raise TimeLimitError


@dataclass(frozen=True)
class Item:
    """A row that is to be measured: its name, and the function that measures it."""

    what: str
    measure: Callable[[], Measured]


class NotAvailableError(Exception):
    """A row cannot be measured here; the message says why."""


Part = Callable[[Setting], Iterator[Item]]


def listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
