"""The choice of a number format, and what autocast does with it."""

import pytest
import torch

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.precision import PRECISIONS, Precision, autocast, faster_precision

CPU = torch.device("cpu")
# With dropout, so that a training step of the probe draws random numbers.
CONFIG = ViTConfig(img_size=8, embed_dim=16, num_heads=2, depth=1, proj_drop_rate=0.1, drop_path_rate=0.1)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_matrix_products_run_in_the_precision_and_weights_stay_fp32(precision: Precision, dtype: torch.dtype) -> None:
    model = VisionTransformer(CONFIG)
    with autocast(CPU, precision):
        logits = model(torch.randn(2, 3, 8, 8))
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == dtype
    assert logits.dtype == dtype
    logits.float().sum().backward()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


def test_bf16_is_coarser_than_fp32_but_close() -> None:
    model = VisionTransformer(CONFIG).eval()
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), autocast(CPU, "bf16"):
        coarse = model(images).float()
    with torch.no_grad(), autocast(CPU, "fp32"):
        fine = model(images)
    assert torch.equal(fine, model(images))
    assert not torch.equal(coarse, fine)
    torch.testing.assert_close(coarse, fine, atol=0.05, rtol=0.05)


def test_the_probe_answers_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert faster_precision(CONFIG, batch_size=8, device=CPU) in PRECISIONS
    assert torch.equal(torch.get_rng_state(), before)
