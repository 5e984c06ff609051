"""Muon compared with torch's own, matrix by matrix, and with a singular value decomposition."""

import copy

import pytest
import torch
from torch import Tensor, nn

from vit.training.muon import MOMENTUM, Muon, orthogonalised

LR, DECAY = 0.02, 0.1
FUSED, SQUARE, TALL, BROAD = (24, 8), (8, 8), (32, 8), (8, 32)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers() -> list[tuple[nn.Parameter, int]]:
    shapes = [(FUSED, 3), (SQUARE, 1), (TALL, 1), (BROAD, 1)] * 2
    return [(nn.Parameter(seeded(*shape, seed=index)), parts) for index, (shape, parts) in enumerate(shapes)]


def take_steps(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], count: int) -> None:
    """Takes `count` steps. The gradients depend only on the weight's shape and the step, not on the optimizer."""
    for step in range(count):
        for weight in weights:
            weight.grad = seeded(*weight.shape, seed=int(weight.shape[1]) + 100 * step)
        optimizer.step()


def test_steps_equal_torchs_muon_on_each_matrix_apart() -> None:
    fused = layers()
    ours = Muon(fused, LR, DECAY, torch.bfloat16)
    apart = [nn.Parameter(part.detach().clone()) for weight, parts in fused for part in weight.chunk(parts)]
    theirs = torch.optim.Muon(
        apart, lr=LR, weight_decay=DECAY, momentum=MOMENTUM, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(5):
        remaining = iter(apart)
        for index, (weight, parts) in enumerate(fused):
            weight.grad = seeded(*weight.shape, seed=1000 * step + index)
            for part in weight.grad.chunk(parts):
                next(remaining).grad = part.clone()
        ours.step()
        theirs.step()
    joined = torch.cat([weight.detach().flatten() for weight, _ in fused])
    expected = torch.cat([weight.detach().flatten() for weight in apart])
    # bf16 keeps three digits of an update. Each step moves the weights by about 0.2 * LR, so all five by up to 0.02.
    torch.testing.assert_close(joined, expected, atol=2e-3, rtol=0)
    assert (joined - expected).abs().mean() < 2e-4


@pytest.mark.parametrize("shape", [(5, 8, 8), (3, 8, 32)])
def test_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, ...]) -> None:
    left, _, right = torch.linalg.svd(seeded(*shape), full_matrices=False)
    sizes = torch.linspace(5.0, 0.5, 8)
    made = orthogonalised(left * sizes @ right, torch.float32)
    rotated = left.mT @ made @ right.mT
    made_sizes = rotated.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(rotated, torch.diag_embed(made_sizes), atol=1e-4, rtol=0)
    assert 0.6 < made_sizes.min() <= made_sizes.max() < 1.3


def test_a_gradient_of_zeros_is_no_update() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 4, 4), torch.float32), torch.zeros(2, 4, 4))


def test_a_step_is_as_long_as_one_of_adamw() -> None:
    """The root mean square of an update is about 0.2 times the learning rate, whatever the matrix's shape."""
    for shape in (SQUARE, TALL, BROAD, (192, 768)):
        weight = nn.Parameter(torch.zeros(shape))
        muon = Muon([(weight, 1)], LR, 0.0, torch.float32)
        weight.grad = seeded(*shape)
        muon.step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * LR, rel=0.15)


@pytest.mark.parametrize("flag", [0.0, 1.0])
def test_a_spoiled_step_leaves_the_weights_alone(flag: float) -> None:
    weight = nn.Parameter(seeded(*FUSED))
    before = weight.detach().clone()
    muon = Muon([(weight, 3)], LR, DECAY, torch.float32)
    muon.found_inf = torch.tensor(flag)
    weight.grad = torch.full(FUSED, torch.nan) if flag else seeded(*FUSED, seed=1)
    muon.step()
    assert torch.equal(weight.detach(), before) == bool(flag)
    assert weight.detach().isfinite().all()


def test_its_state_carries_over() -> None:
    first = layers()
    muon = Muon(first, LR, DECAY, torch.float32)
    take_steps(muon, [weight for weight, _ in first], 2)
    second = [(nn.Parameter(weight.detach().clone()), parts) for weight, parts in first]
    resumed = Muon(second, LR, DECAY, torch.float32)
    resumed.load_state_dict(copy.deepcopy(muon.state_dict()))
    for optimizer, pairs in ((muon, first), (resumed, second)):
        take_steps(optimizer, [weight for weight, _ in pairs], 2)
    for (left, _), (right, _) in zip(first, second, strict=True):
        assert torch.equal(left, right)
