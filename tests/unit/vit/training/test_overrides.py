"""Changing the fields of a model and a recipe by name: every kind of field, and what is refused with one line."""

import re

import pytest

from vit.model.config import ViTConfig
from vit.training.overrides import overridden
from vit.training.recipes import Recipe


def test_fields_of_model_and_recipe_are_changed_and_the_others_stay() -> None:
    settings = ["depth=8", "learning_rate=3e-4", "optimizer=muon", "flip=false", "embed_dim=100", "num_heads=5"]
    model, recipe = overridden(ViTConfig(num_classes=7), Recipe(epochs=3), settings)
    assert model == ViTConfig(num_classes=7, depth=8, embed_dim=100, num_heads=5)
    assert recipe == Recipe(epochs=3, learning_rate=3e-4, optimizer="muon", flip=False)


def test_without_settings_all_stays() -> None:
    assert overridden(ViTConfig(depth=2), Recipe(epochs=3), []) == (ViTConfig(depth=2), Recipe(epochs=3))


def test_the_last_of_two_counts() -> None:
    assert overridden(ViTConfig(), Recipe(), ["depth=2", "depth=3"])[0].depth == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("depth", "'depth' is not of the form FIELD=VALUE, such as learning_rate=3e-4"),
        ("depth=8.5", "depth is '8.5', but must be a whole number"),
        ("rotation=much", "rotation is 'much', but must be a number"),
        ("flip=1", "flip is '1', but must be true or false"),
        ("depth=0", "depth is 0, but must be at least 1"),
        ("embed_dim=100", "embed_dim is 100, but must be a multiple of num_heads 3"),
        ("optimizer=sgd", "optimizer is 'sgd', but must be one of adamw, muon"),
        ("learning_rate=nan", "learning_rate is nan, but must be above 0 and finite"),
    ],
)
def test_what_is_no_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        overridden(ViTConfig(), Recipe(), [setting])


def test_an_unknown_field_is_refused_with_all_that_there_are() -> None:
    message = r"^'learningrate' is not a field of model or recipe; the fields are img_size, .*, learning_rate, "
    with pytest.raises(ValueError, match=message):
        overridden(ViTConfig(), Recipe(), ["learningrate=1"])
