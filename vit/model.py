"""The Vision Transformer (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929), written from scratch.

Field names and state-dict keys are those of timm's `VisionTransformer`, so weights of the plain model move to and
from timm unchanged.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stem = Literal["patch", "conv"]
Pool = Literal["token", "avg"]


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a ViT. The defaults are the published model for CIFAR-10 (2.69 M parameters)."""

    img_size: int = 32
    """Height and width of the square images, in pixels."""
    patch_size: int = 4
    """Side of a square patch, in pixels; divides `img_size`."""
    in_chans: int = 3
    """Channels of an image: 1 (grey) or 3 (RGB)."""
    num_classes: int = 10
    embed_dim: int = 192
    """Width of a token; a multiple of `num_heads`."""
    depth: int = 6
    """Number of encoder blocks."""
    num_heads: int = 3
    mlp_ratio: float = 4.0
    """Width of the MLP's hidden layer as a multiple of `embed_dim`."""
    global_pool: Pool = "token"
    """What the head reads: the class token, or the mean of the patch tokens (then there is no class token)."""
    stem: Stem = "patch"
    """`patch`: one strided convolution. `conv`: a 3x3 convolution before it (Xiao et al. 2021, arXiv:2106.14881)."""
    proj_drop_rate: float = 0.0
    """Dropout after the positions, the attention's projection and both layers of the MLP."""
    drop_path_rate: float = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first (Huang et al. 2016)."""

    def __post_init__(self) -> None:
        positive = ("img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.num_classes < 2:
            raise ValueError(f"num_classes is {self.num_classes}, but must be at least 2")
        if self.img_size % self.patch_size:
            raise ValueError(f"patch_size is {self.patch_size}, but must divide img_size {self.img_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim is {self.embed_dim}, but must be a multiple of num_heads {self.num_heads}")
        if not 1 <= self.embed_dim * self.mlp_ratio < 2**31:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}, but must make the MLP's hidden layer at least 1 wide")
        if self.stem == "conv" and self.embed_dim < 2:
            raise ValueError(f"embed_dim is {self.embed_dim}, but must be at least 2 with a convolutional stem")
        for name in ("proj_drop_rate", "drop_path_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")
        for name, known in (("global_pool", ("token", "avg")), ("stem", ("patch", "conv"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(known)}")

    @property
    def num_patches(self) -> int:
        return (self.img_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the blocks see: the patches and, with it, the class token."""
        return self.num_patches + (self.global_pool == "token")


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


class VisionTransformer(nn.Module):
    """Normalised images (N, in_chans, img_size, img_size) to logits (N, num_classes)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        with_token = config.global_pool == "token"
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim)) if with_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_tokens, config.embed_dim))
        self.pos_drop = nn.Dropout(config.proj_drop_rate)
        rates = [config.drop_path_rate * index / max(config.depth - 1, 1) for index in range(config.depth)]
        self.blocks = nn.Sequential(*(Block(config, rate) for rate in rates))
        # timm's names: the norm stands before the pooling with a class token, after it with the mean.
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6) if with_token else nn.Identity()
        self.fc_norm = nn.Identity() if with_token else nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        if not self.pos_embed.is_meta:  # torch would load its compiler, which takes seconds, to fill nothing
            self._init_weights()

    def _init_weights(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.patch_embed(images)
        if self.cls_token is not None:
            tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        tokens = self.pos_drop(tokens + self.pos_embed)
        tokens = self.norm(self.blocks(tokens))
        pooled = tokens[:, 0] if self.cls_token is not None else tokens.mean(dim=1)
        logits: Tensor = self.head(self.fc_norm(pooled))
        return logits

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


@cache
def count_parameters(config: ViTConfig) -> int:
    """The number of parameters of a model, without making one."""
    with torch.device("meta"):
        return VisionTransformer(config).num_parameters
