"""The work of one image's way through a model, counted by hand: arithmetic, and numbers written."""

from vit.model.config import ViTConfig


def flops_per_image(model: ViTConfig) -> float:
    """Multiply-adds, counted twice, of one image's way through the model; norms, activations and sums not counted.

    A training step takes about three times as many: forward, and two products in backward for each.
    """
    blocks = (model.depth - 1) * _block_products(model, model.num_tokens) + _block_products(model, _kept_tokens(model))
    return 2.0 * (_stem_products(model) + blocks + model.embed_dim * model.num_classes)


def _kept_tokens(model: ViTConfig) -> int:
    """Tokens that the last block computes: the class token alone, where there is one."""
    return 1 if model.global_pool == "token" else model.num_tokens


def _block_products(model: ViTConfig, kept: int) -> int:
    """Multiply-adds of a block that computes `kept` tokens from all."""
    width, tokens = model.embed_dim, model.num_tokens
    projections = 2 * (tokens + kept) * width**2  # keys and values of all; queries and the output of the kept
    attention = 2 * kept * tokens * width  # scores, and the values mixed by them
    mlp = 2 * kept * width * round(width * model.mlp_ratio)
    return projections + attention + mlp


def _stem_products(model: ViTConfig) -> int:
    """Multiply-adds from an image to its patch tokens."""
    pixels, width = model.img_size**2, model.embed_dim
    if model.stem == "patch":
        return pixels * model.in_chans * width  # each pixel stands in one patch
    narrow, wide, kept_pixels = width // 4, width // 2, pixels // model.stem_stride**2
    return pixels * 9 * model.in_chans * narrow + kept_pixels * (9 * narrow * wide + wide * width)


def elements_per_image(model: ViTConfig) -> float:
    """Numbers that one image's way through the model writes on a CPU, about, each as often as a step writes it.

    Where tokens are many and narrow, writing them takes longer than the arithmetic.
    """
    width, tokens = model.embed_dim, model.num_tokens
    blocks = (model.depth - 1) * _block_elements(model, tokens) + _block_elements(model, _kept_tokens(model))
    ends = 4 * tokens * width  # patches, class token, positions and the last norm
    return float(_stem_elements(model) + ends + blocks)


def _stem_elements(model: ViTConfig) -> int:
    """Numbers that the two convolutions of a stem write, with norm and activation behind each."""
    if model.stem == "patch":
        return 0
    narrow, wide, pixels = model.embed_dim // 4, model.embed_dim // 2, model.img_size**2
    return 3 * (pixels * narrow + pixels // model.stem_stride**2 * wide)


def _block_elements(model: ViTConfig, kept: int) -> int:
    """Numbers that a block writes which computes `kept` tokens from all."""
    width, tokens = model.embed_dim, model.num_tokens
    # Of all: a norm; keys and values 2, copied for the products 2. Of the kept: a norm; queries, copied and scaled 3;
    # values mixed and joined 2; projection, second layer and the two sums 4.
    plain = (5 * tokens + 10 * kept) * width
    scores = 2 * model.num_heads * kept * tokens  # products and softmax
    mlp = 2 * kept * round(width * model.mlp_ratio)  # first layer and its activation
    return plain + scores + mlp
