"""The layers of a ViT: patch embedding, attention, MLP and encoder blocks, with the names that timm gives them."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.model.config import ViTConfig


class PatchEmbed(nn.Module):
    """Maps images (N, C, H, W) to patch tokens (N, num_patches, embed_dim)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        channels, patch_size = config.in_chans, config.patch_size
        self.stem: nn.Module = nn.Identity()
        if config.stem == "conv":
            channels, patch_size = config.embed_dim // 2, config.patch_size // config.stem_stride
            self.stem = _conv_stem(config)
        self.proj = nn.Conv2d(channels, config.embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.stem, nn.Identity):
            patches = _patches(images, self.proj.kernel_size[0])
            embedded: Tensor = F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
            return embedded
        pixels: Tensor = self.proj(self.stem(images))
        return pixels.flatten(2).transpose(1, 2)


def _patches(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) cut into patches (N, num_patches, C * side * side), row by row.

    A linear map of these patches equals the strided convolution, which is slower on a CPU where there are few channels.
    """
    cut: Tensor = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _conv_stem(config: ViTConfig) -> nn.Sequential:
    narrow, wide = config.embed_dim // 4, config.embed_dim // 2
    # GroupNorm rather than BatchNorm: no statistics over the batch, so N workers compute what one worker does.
    return nn.Sequential(
        nn.Conv2d(config.in_chans, narrow, kernel_size=3, padding=1, bias=False), nn.GroupNorm(1, narrow), nn.GELU(),
        nn.Conv2d(narrow, wide, kernel_size=3, stride=config.stem_stride, padding=1, bias=False),
        nn.GroupNorm(1, wide), nn.GELU(),
    )  # fmt: skip


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.proj_drop = nn.Dropout(config.proj_drop_rate)
        self.use_fused_kernel = True
        """Whether a GPU's fused kernel may be used; `torch.func.vmap` has no batching rule for its backward pass."""

    def forward(self, tokens: Tensor, first_only: bool = False) -> Tensor:
        """The output for each token (N, length, embed_dim), or with `first_only` for the first (N, 1, embed_dim)."""
        query, key, value = self._first_query(tokens) if first_only else self._qkv(tokens)
        mixed = scaled_dot_product(query, key, value, use_fused_kernel=self.use_fused_kernel)
        projected: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return projected

    def _qkv(self, tokens: Tensor) -> Iterable[Tensor]:
        """Queries, keys and values (N, heads, length, head width)."""
        return self._heads(self.qkv(tokens), 3)

    def _first_query(self, tokens: Tensor) -> Iterable[Tensor]:
        """Like `_qkv`, with the same weights, but with only the first token's query (N, heads, 1, head width)."""
        width = tokens.shape[-1]
        query = F.linear(tokens[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
        key_value = F.linear(tokens, self.qkv.weight[width:], self.qkv.bias[width:])
        return *self._heads(query, 1), *self._heads(key_value, 2)

    def _heads(self, projected: Tensor, parts: int) -> Tensor:
        """Splits (N, length, parts * embed_dim) into (parts, N, heads, length, head width)."""
        batch, length, width = projected.shape
        heads = projected.view(batch, length, parts, self.num_heads, width // parts // self.num_heads)
        return heads.permute(2, 0, 3, 1, 4)


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, *, use_fused_kernel: bool = True) -> Tensor:
    """softmax(QK^T / sqrt(d)) V over (N, heads, length, d), computed in the way that is faster on the device."""
    if use_fused_kernel and query.device.type != "cpu":
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
    """Stochastic depth: drops whole residual branches of images at random, and scales kept ones to the same mean."""

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

    def forward(self, tokens: Tensor, first_only: bool = False) -> Tensor:
        """The tokens (N, length, embed_dim) after the block, or with `first_only` just the first (N, 1, embed_dim)."""
        kept = tokens[:, :1] if first_only else tokens
        mixed: Tensor = kept + self.drop_path1(self.attn(self.norm1(tokens), first_only))
        transformed: Tensor = mixed + self.drop_path2(self.mlp(self.norm2(mixed)))
        return transformed
