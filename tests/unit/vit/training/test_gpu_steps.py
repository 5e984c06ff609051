"""On a GPU, no training step between two checks of the loss makes the host wait for the device."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.training.fit import STEPS_BETWEEN_CHECKS_ON_GPU, Fit
from vit.training.precision import PRECISIONS, Precision
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

BATCH, STEPS = 32, 8
CONFIG = ViTConfig(
    img_size=8, in_chans=1, num_classes=4, embed_dim=16, depth=2, num_heads=2, proj_drop_rate=0.1, drop_path_rate=0.2
)
RECIPE = Recipe(
    epochs=2, batch_size=BATCH, warmup_epochs=1.5, label_smoothing=0.1, clip_grad=0.5, ema_decay=0.9, crop_padding=1
)


@pytest.fixture
def sync_debug_mode() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    yield
    torch.cuda.set_sync_debug_mode(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("sync_debug_mode")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_waits_for_nothing(precision: Precision) -> None:
    assert STEPS < STEPS_BETWEEN_CHECKS_ON_GPU
    device = torch.device("cuda")
    images = torch.randint(0, 256, (BATCH * STEPS, 8, 8, 1), dtype=torch.uint8, device=device)
    split = Split(images, torch.arange(len(images), device=device) % 4)
    fit = Fit(CONFIG, RECIPE, Runtime(device, precision), split, split, Normalisation((0.5,), (0.3,)), seed=0)
    fit.run_epoch()  # sets up what is needed only once, which may make the host wait
    seen = 0

    def look(model: nn.Module, inputs: object) -> None:
        """Runs before each forward pass: from the second step on a wait is an error, but not in the last.

        The last step checks the loss.
        """
        nonlocal seen
        seen += 1
        if seen == 2:
            torch.cuda.set_sync_debug_mode("error")
        if seen == STEPS:
            torch.cuda.set_sync_debug_mode("default")

    fit.model.register_forward_pre_hook(look)
    fit.run_epoch()
    assert seen == STEPS
