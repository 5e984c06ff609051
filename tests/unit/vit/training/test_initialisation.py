"""How recipes initialise a model, compared with numbers worked out by hand, linear algebra and the default weights."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from tests.unit.vit.training.toy import smooth_images
from vit.model.config import ViTConfig
from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer
from vit.training.initialisation import initialise, sincos_positions
from vit.training.recipes import Recipe
from vit.training.whitening import whitening_filters

CONFIG = ViTConfig(img_size=16, patch_size=4, embed_dim=96, depth=2, num_heads=3)


def made(config: ViTConfig = CONFIG, **changes: Any) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(config)
    initialise(model, replace(Recipe(), **changes), partial(whitening_filters, smooth_images()))
    return model


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, global_pool="avg", stem="conv")])
def test_timms_start_is_left_alone_and_no_start_adds_a_parameter(config: ViTConfig) -> None:
    torch.manual_seed(0)
    plain = VisionTransformer(config).state_dict()
    torch.testing.assert_close(made(config).state_dict(), plain, atol=0, rtol=0)
    other = made(config, attention_init="mimetic", position_init="sincos", patch_init="whitening").state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], other[name])}
    first = "patch_embed.proj.weight" if config.stem == "patch" else "patch_embed.stem.0.weight"
    attention = {f"blocks.{block}.attn.{layer}.weight" for block in (0, 1) for layer in ("qkv", "proj")}
    assert changed == {"pos_embed", first, *attention}
    assert {name: tensor.shape for name, tensor in other.items()} == {name: t.shape for name, t in plain.items()}


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    positions = sincos_positions(side=3, width=8)
    row, column = 2, 1
    expected = [
        math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100),
        math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100),
    ]  # fmt: skip
    torch.testing.assert_close(positions[row * 3 + column], torch.tensor(expected))
    assert positions.shape == (9, 8)


@pytest.mark.parametrize("width", [9, 10, 11])
def test_columns_that_make_no_four_are_zero(width: int) -> None:
    positions = sincos_positions(side=2, width=width)
    torch.testing.assert_close(positions[:, :8], sincos_positions(side=2, width=8))
    assert not positions[:, 8:].any()


def test_the_class_token_stands_nowhere() -> None:
    positions = made(position_init="sincos").pos_embed[0]
    assert not positions[0].any()
    torch.testing.assert_close(positions[1:], sincos_positions(4, 96))


def test_mimetic_queries_meet_their_own_keys_and_values_are_taken_away() -> None:
    """The products of the weights are as published, up to noise.

    That of a head's queries and keys is near 0.7 I, as its rank allows; that of values and projection is near -0.4 I.
    """
    modules = list(made(attention_init="mimetic").modules())
    for attention in (module for module in modules if isinstance(module, Attention)):
        query, key, value = attention.qkv.weight.detach().view(3, 96, 96)
        for head in range(3):
            rows = slice(32 * head, 32 * (head + 1))
            product = query[rows].T @ key[rows]
            assert torch.linalg.matrix_rank(product) == 32
            own, others = product.diagonal().mean(), product.mean()
            assert own > 0.3
            assert abs(others) < 0.03
        mixed = value.T @ attention.proj.weight.detach().T
        assert mixed.diagonal().mean() == pytest.approx(-0.4, abs=0.02)
        noise = mixed + 0.4 * torch.eye(96)
        assert noise.std() == pytest.approx(0.4 / math.sqrt(96), rel=0.05)


@pytest.mark.parametrize("embed_dim", [12, 96, 192])
def test_as_many_filters_as_there_is_room_for(embed_dim: int) -> None:
    config = replace(CONFIG, embed_dim=embed_dim)
    torch.manual_seed(0)
    plain = VisionTransformer(config).patch_embed.proj.weight
    whitened = made(config, patch_init="whitening").patch_embed.proj.weight
    filters = whitening_filters(smooth_images(), 4, embed_dim)
    torch.testing.assert_close(whitened[: len(filters)], filters)
    torch.testing.assert_close(whitened[len(filters) :], plain[len(filters) :])
