"""What a ViT is made of: patches, attention, MLP, encoder blocks; the names are timm's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.model.config import ViTConfig


class PatchEmbed(nn.Module):
    """Images (N, C, H, W) to patch tokens (N, num_patches, embed_dim)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        channels = config.in_chans
        self.stem = nn.Identity() if config.stem == "patch" else _conv_stem(channels, config.embed_dim // 2)
        if config.stem == "conv":
            channels = config.embed_dim // 2
        self.proj = nn.Conv2d(channels, config.embed_dim, kernel_size=config.patch_size, stride=config.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(self.stem(images))
        return tokens.flatten(2).transpose(1, 2)


def _conv_stem(in_chans: int, width: int) -> nn.Sequential:
    # GroupNorm rather than BatchNorm: no statistics over the batch, so N workers compute what one worker does.
    return nn.Sequential(
        nn.Conv2d(in_chans, width, kernel_size=3, padding=1, bias=False), nn.GroupNorm(1, width), nn.GELU()
    )


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.proj_drop = nn.Dropout(config.proj_drop_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product(query, key, value)
        projected: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(batch, length, width)))
        return projected


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(QK^T / sqrt(d)) V over (N, heads, length, d), by the faster way of the device."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    # On a CPU the fused kernel's backward is slow: it took a third of a training step whose arithmetic is 5% attention.
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
    return scores.softmax(dim=-1) @ value


class Mlp(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden = round(config.embed_dim * config.mlp_ratio)
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(config.proj_drop_rate)
        self.fc2 = nn.Linear(hidden, config.embed_dim)
        self.drop2 = nn.Dropout(config.proj_drop_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.drop2(self.fc2(self.drop1(self.act(self.fc1(tokens)))))
        return hidden


class DropPath(nn.Module):
    """Stochastic depth: drops the whole residual branch of an image, and scales the kept ones to the same mean."""

    def __init__(self, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_rate == 0.0:
            return branch
        keep_rate = 1.0 - self.drop_rate
        kept = torch.empty(branch.shape[0], 1, 1, device=branch.device, dtype=branch.dtype).bernoulli_(keep_rate)
        return branch * kept / keep_rate


class Block(nn.Module):
    """A pre-norm encoder block: LayerNorm, attention, residual, LayerNorm, MLP, residual."""

    def __init__(self, config: ViTConfig, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = Attention(config)
        self.drop_path1 = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = Mlp(config)
        self.drop_path2 = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path1(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path2(self.mlp(self.norm2(tokens)))
        return tokens
