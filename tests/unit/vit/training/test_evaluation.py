"""How many images a model evaluates in one batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.unit.vit.training.toy import CONFIG, NORMALISATION, RUNTIME
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.evaluation import evaluation_batch, predict


@pytest.mark.parametrize(
    ("side", "images"), [(1, 512), (8, 512), (28, 512), (32, 512), (33, 481), (64, 128), (224, 10), (5000, 1)]
)
def test_of_large_images_a_model_is_shown_fewer_at_once(side: int, images: int) -> None:
    assert evaluation_batch(ViTConfig(img_size=side, patch_size=1)) == images


def test_predicting_keeps_to_it_and_sees_every_image() -> None:
    model, batches = VisionTransformer(replace(CONFIG, img_size=128, patch_size=32)), []

    def look(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        batches.append(len(inputs[0]))

    model.register_forward_pre_hook(look)
    images = torch.zeros(70, 128, 128, 1, dtype=torch.uint8)
    assert predict(model, images, NORMALISATION, RUNTIME).shape == (70, 4)
    assert batches == [32, 32, 6]
