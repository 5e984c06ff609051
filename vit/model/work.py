"""The work of one image's way through a model, counted by hand: arithmetic, and numbers written."""

from vit.model.config import ViTConfig


def flops_per_image(model: ViTConfig) -> float:
    """Multiply-adds, counted twice, of one image's way through the model; norms, activations and sums not counted.

    A training step takes about three times as many: forward, and two products in backward for each.
    """
    width, tokens = model.embed_dim, model.num_tokens
    hidden = round(width * model.mlp_ratio)
    projections = 4 * tokens * width**2  # queries, keys, values and the output
    attention = 2 * tokens**2 * width  # scores, and the values mixed by them
    mlp = 2 * tokens * width * hidden
    head = width * model.num_classes
    return 2.0 * (_stem_products(model) + model.depth * (projections + attention + mlp) + head)


def _stem_products(model: ViTConfig) -> int:
    """Multiply-adds from an image to its patch tokens."""
    pixels, width = model.img_size**2, model.embed_dim
    if model.stem == "patch":
        return pixels * model.in_chans * width  # each pixel stands in one patch
    channels = width // 2
    return pixels * (9 * model.in_chans * channels + channels * width)


def elements_per_image(model: ViTConfig) -> float:
    """Numbers that one image's way through the model writes on a CPU, about, each as often as a step writes it.

    Where tokens are many and narrow, writing them takes longer than the arithmetic.
    """
    width, tokens = model.embed_dim, model.num_tokens
    hidden = round(width * model.mlp_ratio)
    # Norms 2; queries, keys, values 3, copied for the products 3; queries scaled, values mixed and joined 3;
    # projection, second layer and the two sums 4.
    block = 15 * tokens * width
    scores = 2 * model.num_heads * tokens**2  # products and softmax
    mlp = 2 * tokens * hidden  # first layer and its activation
    ends = 4 * tokens * width  # patches, class token, positions and the last norm
    stem = 3 * model.img_size**2 * (width // 2) if model.stem == "conv" else 0  # convolution, norm, activation
    return float(stem + ends + model.depth * (block + scores + mlp))
