"""Which parameters decay, and each step's learning rate, compared with torch's schedule and with numbers by hand."""

import pytest
import torch

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.optim import block_matrices, build_optimizers, learning_rate_at, parameter_groups
from vit.training.recipes import Recipe

DECAYED = {
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.proj.weight",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.fc2.weight",
    "head.weight",
}
NOT_DECAYED = {
    "cls_token",
    "pos_embed",
    "patch_embed.proj.bias",
    "blocks.0.norm1.weight",
    "blocks.0.norm1.bias",
    "blocks.0.attn.qkv.bias",
    "blocks.0.attn.proj.bias",
    "blocks.0.norm2.weight",
    "blocks.0.norm2.bias",
    "blocks.0.mlp.fc1.bias",
    "blocks.0.mlp.fc2.bias",
    "norm.weight",
    "norm.bias",
    "head.bias",
}


def rates(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    return [learning_rate_at(step, steps_per_epoch, recipe) for step in range(recipe.epochs * steps_per_epoch)]


def test_matrices_decay_and_norms_biases_positions_and_tokens_do_not() -> None:
    model = VisionTransformer(ViTConfig(img_size=8, embed_dim=8, num_heads=2, depth=1))
    names = {parameter: name for name, parameter in model.named_parameters()}
    (adamw,) = build_optimizers(model, Recipe(weight_decay=0.3), torch.float32)
    groups = adamw.param_groups
    assert {group["weight_decay"]: {names[p] for p in group["params"]} for group in groups} == {
        0.3: DECAYED,
        0.0: NOT_DECAYED,
    }


def test_every_trainable_parameter_is_in_one_group_once() -> None:
    model = VisionTransformer(ViTConfig(img_size=8, embed_dim=8, num_heads=2, depth=3, stem="conv", global_pool="avg"))
    model.pos_embed.requires_grad_(False)
    grouped = [id(p) for group in parameter_groups(model, 0.1) for p in group["params"]]  # type: ignore[attr-defined]
    assert sorted(grouped) == sorted(id(p) for name, p in model.named_parameters() if name != "pos_embed")


def test_muon_trains_the_blocks_matrices_and_adamw_all_else() -> None:
    model = VisionTransformer(ViTConfig(img_size=8, embed_dim=8, num_heads=2, depth=1))
    names = {parameter: name for name, parameter in model.named_parameters()}
    adamw, muon = build_optimizers(model, Recipe(optimizer="muon", weight_decay=0.3), torch.float32)
    by_muon = {names[p]: group["parts"] for group in muon.param_groups for p in group["params"]}
    assert by_muon == {
        "blocks.0.attn.qkv.weight": 3,
        "blocks.0.attn.proj.weight": 1,
        "blocks.0.mlp.fc1.weight": 1,
        "blocks.0.mlp.fc2.weight": 1,
    }
    by_adamw = {group["weight_decay"]: {names[p] for p in group["params"]} for group in adamw.param_groups}
    assert by_adamw == {0.3: DECAYED - by_muon.keys(), 0.0: NOT_DECAYED}


def test_every_block_has_four_layers_for_muon() -> None:
    model = VisionTransformer(ViTConfig(img_size=8, embed_dim=8, num_heads=2, depth=3))
    assert [parts for _, parts in block_matrices(model)] == [3, 1, 1, 1] * 3


def test_a_step_without_gradient_shrinks_matrices_only() -> None:
    model = VisionTransformer(ViTConfig(img_size=8, embed_dim=8, num_heads=2, depth=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    (adamw,) = build_optimizers(model, Recipe(learning_rate=0.5, weight_decay=0.2), torch.float32)
    adamw.step()
    for name, parameter in model.named_parameters():
        expected = torch.full_like(parameter, 0.9 if name in DECAYED else 1.0)
        torch.testing.assert_close(parameter.data, expected, msg=name)


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(30, 7), (1, 10), (5, 1)])
def test_without_warmup_it_is_torchs_cosine(epochs: int, steps_per_epoch: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps_per_epoch)
    expected = []
    for _ in range(epochs * steps_per_epoch):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates(Recipe(epochs=epochs, learning_rate=0.02), steps_per_epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("warmup_epochs", "expected"),
    [
        (0.0, [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        # Warm-up over 2 of 6 steps, or over a step and a half.
        (1.0, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        (0.75, [2 / 3, 1.0, 1 - 0.5 / 4.5, 1 - 1.5 / 4.5, 1 - 2.5 / 4.5, 1 - 3.5 / 4.5]),
    ],
)
def test_the_straight_line_falls_to_zero_behind_the_last_step(warmup_epochs: float, expected: list[float]) -> None:
    recipe = Recipe(epochs=3, learning_rate=1.0, warmup_epochs=warmup_epochs, schedule="linear")
    assert rates(recipe, steps_per_epoch=2) == pytest.approx(expected)
    assert learning_rate_at(6, 2, recipe) == 0.0


@pytest.mark.parametrize(
    ("warmup_epochs", "expected"),
    [
        # Warm-up over 2 of 6 steps; then cosines of 0, 45, 90 and 135 degrees, (1 + cos) / 2.
        (1.0, [0.5, 1.0, 1.0, 0.8535534, 0.5, 0.1464466]),
        # Warm-up over 4 of 6 steps; then cosines of 0 and 90 degrees.
        (2.0, [0.25, 0.5, 0.75, 1.0, 1.0, 0.5]),
        # Warm-up over 1 step, which starts at the peak; then cosines of 0, 36, 72, 108 and 144 degrees.
        (0.5, [1.0, 1.0, 0.9045085, 0.6545085, 0.3454915, 0.0954915]),
        # Warm-up over the whole run.
        (3.0, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0]),
    ],
)
def test_warmup_rises_to_the_peak_and_the_cosine_falls_from_it(warmup_epochs: float, expected: list[float]) -> None:
    recipe = Recipe(epochs=3, learning_rate=1.0, warmup_epochs=warmup_epochs)
    assert rates(recipe, steps_per_epoch=2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("warmup_epochs", [0.1, 0.3, 0.5, 0.75, 1.5, 2.9])
def test_warmup_that_ends_within_a_step_never_exceeds_the_peak(warmup_epochs: float) -> None:
    recipe = Recipe(epochs=4, learning_rate=0.01, warmup_epochs=warmup_epochs)
    assert max(rates(recipe, steps_per_epoch=3)) <= 0.01


@pytest.mark.parametrize("warmup_epochs", [0.0, 2.0])
def test_the_run_ends_at_almost_zero(warmup_epochs: float) -> None:
    recipe = Recipe(epochs=10, learning_rate=1.0, warmup_epochs=warmup_epochs)
    assert 0 < rates(recipe, steps_per_epoch=100)[-1] < 1e-5
    assert learning_rate_at(10 * 100, 100, recipe) == pytest.approx(0.0, abs=1e-12)
