"""The Vision Transformer (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929), written from scratch.

Field names and state-dict keys are those of timm's `VisionTransformer`, so weights of the plain model move to and
from timm unchanged.
"""

from functools import cache

import torch
from torch import Tensor, nn

from vit.model.config import ViTConfig
from vit.model.layers import Block, PatchEmbed


class VisionTransformer(nn.Module):
    """Maps normalised images (N, in_chans, img_size, img_size) to logits (N, num_classes)."""

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
        # The names are timm's: the norm comes before the pooling with a class token, and after it with mean pooling.
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6) if with_token else nn.Identity()
        self.fc_norm = nn.Identity() if with_token else nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        # Meta tensors hold no values, and initialising them would make torch load its compiler, which takes seconds.
        if not self.pos_embed.is_meta:
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
        *blocks, last_block = self.blocks
        for block in blocks:
            tokens = block(tokens)
        # The head reads only the class token, so the last block computes no other, which is a sixth of a block's work.
        tokens = self.norm(last_block(tokens, first_only=self.cls_token is not None))
        pooled = tokens[:, 0] if self.cls_token is not None else tokens.mean(dim=1)
        logits: Tensor = self.head(self.fc_norm(pooled))
        return logits

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


@cache
def count_parameters(config: ViTConfig) -> int:
    """The number of parameters of a model, counted without allocating them."""
    with torch.device("meta"):
        return VisionTransformer(config).num_parameters
