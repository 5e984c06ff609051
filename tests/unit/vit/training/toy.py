"""A task that a tiny model learns in seconds, and ways of training it."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

CPU = torch.device("cpu")
RUNTIME = Runtime(CPU)
CONFIG = ViTConfig(img_size=8, in_chans=1, num_classes=4, embed_dim=16, depth=2, num_heads=2)
NORMALISATION = Normalisation((0.47,), (0.27,))
PLAIN = Recipe(epochs=10, batch_size=32, learning_rate=3e-3, flip=False, rotation=0.0)
# A recipe with all that keeps a state or draws random numbers.
EVERYTHING = Recipe(
    epochs=4, batch_size=16, warmup_epochs=1.5, label_smoothing=0.1, clip_grad=0.5, ema_decay=0.9, crop_padding=1
)
MUON = replace(
    EVERYTHING, optimizer="muon", schedule="linear", attention_init="mimetic", position_init="sincos",
    patch_init="whitening", flip_alternates=True, cutout=3, cutmix=0.5,
)  # fmt: skip
RECIPES = {"adamw": EVERYTHING, "muon": MUON}


def toy_split(count: int, seed: int = 0) -> Split:
    """8x8 noise on one of four levels of brightness: that level is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    noise = torch.randint(0, 60, (count, 8, 8, 1), generator=generator)
    return Split((noise + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


def smooth_images(count: int = 400, side: int = 16) -> Tensor:
    """Images (count, 3, side, side) whose neighbouring pixels, and the channels of each, are similar, as in photos."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    coarse += coarse.mean(dim=1, keepdim=True) * 2
    fine = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=side, mode="bilinear") + 0.3 * fine
