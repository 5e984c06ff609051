"""Attention rollout compared with torch's own attention, the model itself and numbers worked out by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vit.model.attention_rollout import attention_map, attention_weights, rollout
from vit.model.config import Pool, ViTConfig
from vit.model.layers import Attention, Block
from vit.model.vision_transformer import VisionTransformer

SMALL = ViTConfig(img_size=8, patch_size=4, in_chans=1, embed_dim=12, depth=3, num_heads=3)


def blocks_of(model: VisionTransformer) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block)]


def test_the_weights_are_those_of_torchs_attention_and_of_the_models() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(SMALL).eval(), torch.randn(2, 5, 12)
    query, key, value = attention._qkv(tokens)
    weights = attention_weights(attention, tokens)
    assert weights.shape == (2, 3, 5, 5)
    torch.testing.assert_close(weights @ value, F.scaled_dot_product_attention(query, key, value))
    torch.testing.assert_close(attention.proj((weights @ value).transpose(1, 2).flatten(2)), attention(tokens))


def test_a_rollout_of_two_blocks_by_hand() -> None:
    """The means of each block's matrix and the identity are [[.75, .25], [0, 1]] and [[.5, .5], [.5, .5]].

    The second of them times the first is [[.375, .625], [.375, .625]].
    """
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    torch.testing.assert_close(rollout([first, second]), torch.tensor([[[0.375, 0.625], [0.375, 0.625]]]))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_uniform_attention_draws_on_all_patches_alike(pool: Pool) -> None:
    model = VisionTransformer(replace(SMALL, global_pool=pool)).eval()
    for block in blocks_of(model):
        torch.nn.init.zeros_(block.attn.qkv.weight)
    found = attention_map(model, torch.randn(3, 1, 8, 8))
    torch.testing.assert_close(found, torch.full((3, 2, 2), 0.25))


def test_attention_to_one_patch_is_found_where_that_patch_is() -> None:
    """Every query points to the key of the bottom right patch, which is the only bright one."""
    model = VisionTransformer(replace(SMALL, depth=1, num_heads=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        (block,) = blocks_of(model)
        block.norm1.weight.fill_(1.0)
        model.patch_embed.proj.weight[0] = 1.0  # the first number of a bright patch's token
        block.attn.qkv.bias[0] = 50.0  # the first number of every query
        block.attn.qkv.weight[12, 0] = 1.0  # a key's first number is the token's
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, 4:, 4:] = 1.0
    (found,) = attention_map(model, image)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [0.0, 1.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_map_leaves_the_model_as_it_was(pool: Pool) -> None:
    torch.manual_seed(0)
    model, images = VisionTransformer(replace(SMALL, global_pool=pool)).eval(), torch.randn(2, 1, 8, 8)
    before = model(images)
    found = attention_map(model, images)
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(2))
    assert not any(block.attn._forward_pre_hooks for block in blocks_of(model))
    torch.testing.assert_close(model(images), before)
