"""Which patches of an image a ViT's answer draws on: attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer


def attention_weights(attention: Attention, tokens: Tensor) -> Tensor:
    """How much each token takes from each: softmax(QK^T / sqrt(d)), (N, heads, length, length); rows sum to 1.

    Args:
        attention: of a block.
        tokens: (N, length, embed_dim), as the block's attention gets them: after its norm.
    """
    query, key, _ = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores: Tensor = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1)


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """The attention of all blocks as one, (N, length, length): row i says what token i at the end consists of.

    Half of a token comes from a block's attention and half, past it, from the token itself (the residual connection).
    The blocks' matrices are multiplied, the first at the right.

    Args:
        weights: (N, length, length) of each block, the mean over its heads; the first block's first.
    """
    length = weights[0].shape[-1]
    identity = torch.eye(length, dtype=weights[0].dtype, device=weights[0].device)
    joint = identity.expand(weights[0].shape[0], length, length)
    for block in weights:
        joint = (block + identity) / 2 @ joint
    return joint


@torch.inference_mode()
def attention_map(model: VisionTransformer, images: Tensor) -> Tensor:
    """What the head reads, by where in the image it comes from: (N, side, side) over the patches, each summing to 1.

    With a class token it is that token's row of the rollout, without its share of itself. A mean-pooled model has no
    class token: its head reads the mean of the patches, so it is the mean of their rows.

    The weights are worked out again from what each block's attention is given, all rows of them: that the last block
    needs the class token's row alone changes none of the others.

    Args:
        model: in evaluation mode.
        images: normalised (N, in_chans, img_size, img_size).
    """
    weights: list[Tensor] = []

    def keep(attention: Attention, given: tuple[Tensor, bool]) -> None:
        weights.append(attention_weights(attention, given[0]).mean(dim=1))

    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    hooks = [attention.register_forward_pre_hook(keep) for attention in attentions]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    joint = rollout(weights)
    patches = joint[:, 0, 1:] if model.cls_token is not None else joint.mean(dim=1)
    side = math.isqrt(model.config.num_patches)
    shares: Tensor = patches / patches.sum(dim=1, keepdim=True)
    return shares.reshape(-1, side, side)
