"""The model compared with timm's VisionTransformer and torch's own attention."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor

from vit.model.config import ViTConfig
from vit.model.layers import DropPath, scaled_dot_product
from vit.model.vision_transformer import VisionTransformer, count_parameters

TINY = ViTConfig(img_size=8, patch_size=4, num_classes=3, embed_dim=12, depth=2, num_heads=3)


def with_random_weights(config: ViTConfig) -> VisionTransformer:
    """A model without biases of 0 or scales of 1, so that a part left out or in the wrong place shows in the logits."""
    torch.manual_seed(0)
    model = VisionTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def images_for(config: ViTConfig, count: int = 3) -> Tensor:
    shape = (count, config.in_chans, config.img_size, config.img_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("global_pool", ["token", "avg"])
@pytest.mark.parametrize(("img_size", "patch_size", "in_chans"), [(8, 4, 3), (8, 2, 1), (15, 5, 3), (7, 7, 1)])
def test_weights_load_into_timm_and_give_the_same_logits(
    global_pool: Any, img_size: int, patch_size: int, in_chans: int
) -> None:
    config = replace(TINY, img_size=img_size, patch_size=patch_size, in_chans=in_chans, global_pool=global_pool)
    ours = with_random_weights(config).eval()
    theirs = TimmVisionTransformer(
        img_size=img_size,
        patch_size=patch_size,
        in_chans=in_chans,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        global_pool=global_pool,
        class_token=global_pool == "token",
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = images_for(config)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_last_block_for_the_class_token_alone_changes_no_logit_and_no_gradient(stem: Any, depth: int) -> None:
    model, images = with_random_weights(replace(TINY, stem=stem, depth=depth)), images_for(TINY)
    assert model.cls_token is not None
    tokens = torch.cat((model.cls_token.expand(len(images), -1, -1), model.patch_embed(images)), dim=1)
    whole: Tensor = model.head(model.norm(model.blocks(tokens + model.pos_embed))[:, 0])
    torch.testing.assert_close(model(images), whole, atol=1e-5, rtol=1e-5)
    labels, parameters = torch.tensor([0, 1, 2]), dict(model.named_parameters())
    gradients = [
        torch.autograd.grad(F.cross_entropy(each, labels), list(parameters.values())) for each in (model(images), whole)
    ]
    for name, ours, expected in zip(parameters, *gradients, strict=True):
        assert torch.allclose(ours, expected, atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("global_pool", ["token", "avg"])
@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_every_parameter_gets_a_gradient(global_pool: Any, stem: Any) -> None:
    config = replace(TINY, global_pool=global_pool, stem=stem)
    model = with_random_weights(config)
    F.cross_entropy(model(images_for(config)), torch.tensor([0, 1, 2])).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_published_model_has_2_69_million_parameters() -> None:
    assert count_parameters(ViTConfig()) == 2_693_578


@pytest.mark.parametrize("changes", [{}, {"global_pool": "avg"}, {"stem": "conv"}, {"mlp_ratio": 1.5}])
def test_count_equals_the_tensors_of_a_real_model(changes: dict[str, Any]) -> None:
    config = replace(TINY, **changes)
    assert count_parameters(config) == sum(p.numel() for p in VisionTransformer(config).parameters())


def test_counting_allocates_nothing() -> None:
    huge = ViTConfig(embed_dim=3 * 65_536, depth=48)  # 22 trillion parameters
    assert count_parameters(huge) > 10**13


def test_attention_equals_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(2, 3, 5, 8, generator=generator, requires_grad=True) for _ in range(3)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    mixed, expected = scaled_dot_product(*ours), F.scaled_dot_product_attention(theirs[0], theirs[1], theirs[2])
    torch.testing.assert_close(mixed, expected)
    gradients = torch.autograd.grad(mixed.square().sum(), ours)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), theirs))


@pytest.mark.parametrize("rate", ["proj_drop_rate", "drop_path_rate"])
def test_dropout_acts_in_training_only(rate: str) -> None:
    plain = with_random_weights(TINY)
    model = VisionTransformer(replace(TINY, **{rate: 0.5}))  # type: ignore[arg-type]
    model.load_state_dict(plain.state_dict())
    images = images_for(TINY, count=16)
    assert not torch.allclose(model(images), model(images))
    torch.testing.assert_close(model.eval()(images), plain.eval()(images), atol=0, rtol=0)


def test_dropped_paths_are_whole_images_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    branches = DropPath(0.25)(torch.ones(8000, 3, 5)).flatten(1)
    first = branches[:, :1]
    assert torch.equal(branches, first.expand_as(branches))
    assert sorted(set(first.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    # Standard error of the mean: sqrt(0.25 / 0.75 / 8000) = 0.0065.
    assert branches.mean().item() == pytest.approx(1.0, abs=0.02)


def test_stochastic_depth_grows_linearly_with_depth() -> None:
    model = VisionTransformer(replace(TINY, depth=3, drop_path_rate=0.2))
    rates = [module.drop_rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize(("img_size", "patch_size", "patches"), [(8, 4, 4), (8, 2, 16), (15, 5, 9)])
def test_both_stems_give_one_token_per_patch(stem: Any, img_size: int, patch_size: int, patches: int) -> None:
    config = replace(TINY, img_size=img_size, patch_size=patch_size, stem=stem)
    assert VisionTransformer(config).patch_embed(images_for(config)).shape == (3, patches, config.embed_dim)


def test_conv_stem_lets_a_patch_see_its_neighbours() -> None:
    images = images_for(TINY).requires_grad_()
    for stem, pixels_seen in (("patch", 4 * 4), ("conv", 5 * 5)):
        model = with_random_weights(replace(TINY, stem=stem))  # type: ignore[arg-type]
        model.patch_embed.stem.apply(as_identity_norm)
        (gradient,) = torch.autograd.grad(model.patch_embed(images)[0, 0].square().sum(), images)
        assert int(gradient[0].any(dim=0).sum()) == pixels_seen


def as_identity_norm(module: torch.nn.Module) -> None:
    # The norm mixes the whole image; without it, a patch depends only on the pixels that the convolutions reach.
    if isinstance(module, torch.nn.GroupNorm):
        module.forward = lambda input: input  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({name: 0}, f"{name} is 0, but must be at least 1")
            for name in ("img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads")
        ],
        ({"depth": -1}, "depth is -1, but must be at least 1"),
        ({"depth": 2.5}, "depth is 2.5, but must be a whole number"),
        ({"num_classes": 10.0}, "num_classes is 10.0, but must be a whole number"),
        ({"num_classes": 1}, "num_classes is 1, but must be at least 2"),
        ({"patch_size": 3}, "patch_size is 3, but must divide img_size 8"),
        ({"patch_size": 16}, "patch_size is 16, but must divide img_size 8"),
        ({"num_heads": 5}, "embed_dim is 12, but must be a multiple of num_heads 5"),
        ({"mlp_ratio": 0.0}, "mlp_ratio is 0.0, but must make the MLP's hidden layer at least 1 wide"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan, but must make the MLP's hidden layer at least 1 wide"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio is inf, but must make the MLP's hidden layer at least 1 wide"),
        (
            {"stem": "conv", "embed_dim": 3, "num_heads": 1},
            "embed_dim is 3, but must be at least 4 with a convolutional stem",
        ),
        ({"proj_drop_rate": 1.0}, "proj_drop_rate is 1.0, but must be at least 0 and below 1"),
        ({"proj_drop_rate": -0.1}, "proj_drop_rate is -0.1, but must be at least 0 and below 1"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0, but must be at least 0 and below 1"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate is nan, but must be at least 0 and below 1"),
        ({"global_pool": "max"}, "global_pool is 'max', but must be one of token, avg"),
        ({"stem": "resnet"}, "stem is 'resnet', but must be one of patch, conv"),
    ],
)
def test_wrong_shape_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(TINY, **changes)
