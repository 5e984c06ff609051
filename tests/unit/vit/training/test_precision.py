"""The choice of a number format, and what autocast does with it."""

import pytest
import torch

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training import precision as probe
from vit.training.precision import ENOUGH_SECONDS, PRECISIONS, Precision, autocast, faster_precision

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


META = torch.device("meta")
"""A device that is not a CPU; its tensors have a shape but no content, so that any batch fits."""


class Clock:
    """Replaces the timing of real steps: a step takes the given seconds, and records its batch size and its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: int = 1 << 30, **seconds: float) -> None:
        self.fits, self.seconds = fits, seconds
        self.batches: list[int] = []
        self.timed = dict.fromkeys(PRECISIONS, 0.0)
        monkeypatch.setattr(probe, "_step_seconds", self.step)

    def step(self, model: VisionTransformer, images: torch.Tensor, precision: Precision) -> float:
        self.batches.append(len(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        self.timed[precision] += self.seconds[precision]
        return self.seconds[precision]


def test_where_bf16_is_fast_the_probe_leaves_the_random_state_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "has_fast_bf16", lambda device: True)
    Clock(monkeypatch, fp32=1.0, bf16=0.1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert faster_precision(CONFIG, batch_size=8, device=CPU) == "bf16"
    assert torch.equal(torch.get_rng_state(), before)


def refuse(*anything: object) -> float:
    pytest.fail("timed a product")


@pytest.mark.parametrize(("bf16", "expected"), [(0.0005, "bf16"), (0.00095, "fp32")])
def test_a_gpu_is_timed_on_whole_batches_for_long_enough(
    monkeypatch: pytest.MonkeyPatch, bf16: float, expected: Precision
) -> None:
    monkeypatch.setattr(probe, "_product_seconds", refuse)
    clock = Clock(monkeypatch, fp32=0.001, bf16=bf16)
    assert faster_precision(CONFIG, batch_size=1024, device=META) == expected
    assert set(clock.batches) == {1024}
    assert all(seconds >= ENOUGH_SECONDS for seconds in clock.timed.values())


def test_a_batch_that_does_not_fit_is_halved_and_a_single_image_that_does_not_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, fits=300, fp32=1, bf16=0.5)
    assert faster_precision(CONFIG, batch_size=1024, device=META) == "bf16"
    assert sorted(set(clock.batches)) == [256, 512, 1024]
    Clock(monkeypatch, fits=0, fp32=1, bf16=0.5)
    with pytest.raises(torch.OutOfMemoryError):
        faster_precision(CONFIG, batch_size=4, device=META)


def test_a_cpu_is_asked_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_product_seconds", lambda dtype, device: 1.0)
    clock = Clock(monkeypatch, fp32=1, bf16=0.5)
    assert faster_precision(CONFIG, batch_size=1024, device=CPU) == "bf16"
    assert clock.batches == [64] * 8  # one round to warm up and three that are timed, in both formats


def test_a_cpu_without_hardware_for_bf16_is_not_asked_for_a_step_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_product_seconds", lambda dtype, device: {torch.bfloat16: 2.0}.get(dtype, 1.0))
    clock = Clock(monkeypatch, fp32=1, bf16=0.5)
    assert faster_precision(CONFIG, batch_size=8, device=CPU) == "fp32"
    assert clock.batches == []


def test_fp32_is_true_fp32() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
