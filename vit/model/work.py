"""Counts the work of a forward pass per image by formulas: arithmetic operations, and numbers written to memory."""

from vit.model.config import ViTConfig


def flops_per_image(model: ViTConfig) -> float:
    """FLOPs of the forward pass of one image: two for each multiply-add; norms, activations and sums are not counted.

    A training step takes about three times as many, since the backward pass has two products for each forward one.
    """
    blocks = (model.depth - 1) * _block_products(model, model.num_tokens) + _block_products(model, _kept_tokens(model))
    return 2.0 * (_stem_products(model) + blocks + model.embed_dim * model.num_classes)


def _kept_tokens(model: ViTConfig) -> int:
    """How many tokens the last block computes: only the class token where there is one, else all."""
    return 1 if model.global_pool == "token" else model.num_tokens


def _block_products(model: ViTConfig, kept: int) -> int:
    """Multiply-adds of a block that attends to all tokens but computes the output of only `kept`."""
    width, tokens = model.embed_dim, model.num_tokens
    projections = 2 * (tokens + kept) * width**2  # keys and values of all tokens; queries and output of the kept ones
    attention = 2 * kept * tokens * width  # the scores, and the values weighted by them
    mlp = 2 * kept * width * round(width * model.mlp_ratio)
    return projections + attention + mlp


def _stem_products(model: ViTConfig) -> int:
    """Multiply-adds from an image to its patch tokens."""
    pixels, width = model.img_size**2, model.embed_dim
    if model.stem == "patch":
        return pixels * model.in_chans * width  # each pixel is in one patch
    narrow, wide, kept_pixels = width // 4, width // 2, pixels // model.stem_stride**2
    return pixels * 9 * model.in_chans * narrow + kept_pixels * (9 * narrow * wide + wide * width)


def elements_per_image(model: ViTConfig) -> float:
    """About how many numbers the forward pass of one image writes on a CPU, each counted as often as it is written.

    Where there are many narrow tokens, writing them takes longer than the arithmetic.
    """
    width, tokens = model.embed_dim, model.num_tokens
    blocks = (model.depth - 1) * _block_elements(model, tokens) + _block_elements(model, _kept_tokens(model))
    ends = 4 * tokens * width  # patches, class token, positions and the last norm
    return float(_stem_elements(model) + ends + blocks)


def _stem_elements(model: ViTConfig) -> int:
    """How many numbers the two convolutions of a stem write, with the norm and the activation after each."""
    if model.stem == "patch":
        return 0
    narrow, wide, pixels = model.embed_dim // 4, model.embed_dim // 2, model.img_size**2
    return 3 * (pixels * narrow + pixels // model.stem_stride**2 * wide)


def _block_elements(model: ViTConfig, kept: int) -> int:
    """How many numbers a block writes that attends to all tokens but computes the output of only `kept`."""
    width, tokens = model.embed_dim, model.num_tokens
    # For all tokens: the norm 1; keys and values 2; their copies for the products 2. For the kept tokens: the norm 1;
    # queries, their copies and these scaled 3; weighted values, and these joined over the heads 2; the projection, the
    # MLP's second layer and the two residual sums 4.
    plain = (5 * tokens + 10 * kept) * width
    scores = 2 * model.num_heads * kept * tokens  # the products and their softmax
    mlp = 2 * kept * round(width * model.mlp_ratio)  # the MLP's first layer and its activation
    return plain + scores + mlp
