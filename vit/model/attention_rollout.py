"""Which patches of an image a ViT's prediction draws on: attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer


def attention_weights(attention: Attention, tokens: Tensor) -> Tensor:
    """How much each token attends to each token: softmax(QK^T / sqrt(d)), (N, heads, length, length); rows sum to 1.

    Args:
        attention: the attention layer of a block.
        tokens: the input of that layer (N, length, embed_dim), which the block's norm has normalised.
    """
    query, key, _ = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores: Tensor = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1)


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """Combines the attention of all blocks: (N, length, length), row i with each input token's share in output token i.

    Half of a token is taken to come from a block's attention and half from the token itself (the residual connection).
    The blocks' matrices are multiplied, with that of the first block rightmost.

    Args:
        weights: the attention weights (N, length, length) of each block from the first on, averaged over its heads.
    """
    length = weights[0].shape[-1]
    identity = torch.eye(length, dtype=weights[0].dtype, device=weights[0].device)
    joint = identity.expand(weights[0].shape[0], length, length)
    for block in weights:
        joint = (block + identity) / 2 @ joint
    return joint


@torch.inference_mode()
def attention_map(model: VisionTransformer, images: Tensor) -> Tensor:
    """How much each patch contributes to what the head reads: (N, side, side) over the patches, each map summing to 1.

    With a class token, the map is that token's row of the rollout, without its share of itself. A mean-pooled model has
    no class token: its head reads the mean of the patches, so the map is the mean of their rows.

    The weights are computed again from the input of each block's attention, for all tokens. The model's last block
    computes only the class token's row, but the other rows follow from the same input.

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
