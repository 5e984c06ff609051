"""The published recipe fitted to data sets, and the values that a recipe refuses."""

import re
from dataclasses import replace
from typing import Any

import pytest

from vit.data.arrays import DataShape
from vit.training.recipes import PUBLISHED_RECIPE, RECIPES, Recipe, long, published, published_patch_size


@pytest.mark.parametrize(
    ("img_size", "patch_size"), [(8, 4), (28, 4), (32, 4), (64, 8), (224, 28), (31, 1), (1, 1), (96, 12), (120, 15)]
)
def test_published_patch_size_divides_the_image_into_about_eight(img_size: int, patch_size: int) -> None:
    assert published_patch_size(img_size) == patch_size


@pytest.mark.parametrize("img_size", [1, 3, 8, 25, 28, 32, 45, 120, 150, 200, 224])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_images_of_any_size(name: str, img_size: int) -> None:
    shape = DataShape(img_size, 3, 10, mirror_safe=True)
    model, _ = RECIPES[name](shape)
    assert (model.img_size, model.in_chans, model.num_classes) == (img_size, 3, 10)


@pytest.mark.parametrize(("img_size", "patch_size"), [(32, 2), (224, 14), (64, 4), (200, 10), (1, 1)])
def test_the_long_recipe_halves_the_patches(img_size: int, patch_size: int) -> None:
    model, _ = long(DataShape(img_size, 3, 10, mirror_safe=True))
    assert model.patch_size == patch_size


@pytest.mark.parametrize(
    ("shape", "flip"),
    [(DataShape(8, 1, 26, mirror_safe=False), False), (DataShape(64, 3, 200, mirror_safe=True), True)],
)
def test_published_recipe_takes_the_shape_of_the_data(shape: DataShape, flip: bool) -> None:
    model, recipe = published(shape, epochs=7)
    assert (model.img_size, model.in_chans, model.num_classes) == (shape.img_size, shape.in_chans, shape.num_classes)
    assert model.img_size % model.patch_size == 0
    assert recipe == replace(PUBLISHED_RECIPE, epochs=7, flip=flip)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"batch_size": 64.0}, "batch_size is 64.0, but must be a whole number"),
        ({"cutout": 1.5}, "cutout is 1.5, but must be a whole number"),
        ({"crop_padding": -1}, "crop_padding is -1, but must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0 and finite"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be above 0 and finite"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, but must be above 0 and finite"),
        *[
            ({name: value}, f"{name} is {value}, but must be at least 0 and finite")
            for name in ("weight_decay", "warmup_epochs", "clip_grad")
            for value in (-0.1, float("nan"), float("inf"))
        ],
        *[
            ({name: value}, f"{name} is {value}, but must be at least 0 and below 1")
            for name in ("label_smoothing", "ema_decay")
            for value in (-0.1, 1.0, float("nan"))
        ],
        ({"rotation": -1.0}, "rotation is -1.0, but must be from 0 to 180 degrees"),
        ({"rotation": 181.0}, "rotation is 181.0, but must be from 0 to 180 degrees"),
        ({"cutout": -1}, "cutout is -1, but must be at least 0"),
        ({"cutmix": 1.5}, "cutmix is 1.5, but must be from 0 to 1"),
        ({"cutmix": float("nan")}, "cutmix is nan, but must be from 0 to 1"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', but must be one of adamw, muon"),
        ({"schedule": "step"}, "schedule is 'step', but must be one of cosine, linear"),
        ({"attention_init": "zero"}, "attention_init is 'zero', but must be one of timm, mimetic"),
        ({"position_init": "rope"}, "position_init is 'rope', but must be one of timm, sincos"),
        ({"patch_init": "pca"}, "patch_init is 'pca', but must be one of timm, whitening"),
        ({"flip": False, "flip_alternates": True}, "flip_alternates is True, but must be False where flip is False"),
    ],
)
def test_wrong_hyperparameter_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Recipe(**changes)


def test_limits_themselves_are_allowed() -> None:
    Recipe(epochs=1, batch_size=1, weight_decay=0, warmup_epochs=0, label_smoothing=0, clip_grad=0, rotation=180)
    Recipe(cutmix=1.0)
