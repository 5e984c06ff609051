"""Defines the shape of a ViT and checks its values."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

Stem = Literal["patch", "conv"]
Pool = Literal["token", "avg"]


def refuse_all_but_whole_numbers(values: object, lowest: Mapping[str, int]) -> None:
    """Raises ValueError if a named field of `values` is no whole number, or is below its lowest value."""
    for name, low in lowest.items():
        value = getattr(values, name)
        if not isinstance(value, Integral):
            raise ValueError(f"{name} is {value}, but must be a whole number")
        if value < low:
            raise ValueError(f"{name} is {value}, but must be at least {low}")


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
    """`patch`: one strided convolution. `conv`: two 3x3 convolutions before it, with a quarter and half of the width,
    the second with stride 2 where the patch size is even (after Xiao et al. 2021, arXiv:2106.14881)."""
    proj_drop_rate: float = 0.0
    """Dropout after the positions, the attention's projection and both layers of the MLP."""
    drop_path_rate: float = 0.0
    """Stochastic depth of the last block, growing linearly from 0 at the first (Huang et al. 2016)."""

    def __post_init__(self) -> None:
        positive = ("img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads")
        refuse_all_but_whole_numbers(self, {**dict.fromkeys(positive, 1), "num_classes": 2})
        if self.img_size % self.patch_size:
            raise ValueError(f"patch_size is {self.patch_size}, but must divide img_size {self.img_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim is {self.embed_dim}, but must be a multiple of num_heads {self.num_heads}")
        if not 1 <= self.embed_dim * self.mlp_ratio < 2**31:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}, but must make the MLP's hidden layer at least 1 wide")
        if self.stem == "conv" and self.embed_dim < 4:
            raise ValueError(f"embed_dim is {self.embed_dim}, but must be at least 4 with a convolutional stem")
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
    def stem_stride(self) -> int:
        """The stride of the convolutional stem, in pixels of the image, in both directions."""
        return 2 if self.patch_size % 2 == 0 else 1

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the blocks see: the patches and, where there is one, the class token."""
        return self.num_patches + (self.global_pool == "token")
