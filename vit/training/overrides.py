"""Changes fields of a model and of a recipe by name, from text as it comes from a command line."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, get_origin, get_type_hints

from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

_TRUTHS = {"true": True, "false": False}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def overridden(model: ViTConfig, recipe: Recipe, settings: Iterable[str]) -> tuple[ViTConfig, Recipe]:
    """The model and the recipe with the fields in `settings`, each `FIELD=VALUE`, changed.

    All changes are checked together, so that `embed_dim` and `num_heads` may change at the same time.

    Raises:
        ValueError: there is no such field, or the value is not one that it takes; the message names both.
    """
    model_kinds, recipe_kinds = get_type_hints(ViTConfig), get_type_hints(Recipe)
    model_values: dict[str, Any] = {}
    recipe_values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is not of the form FIELD=VALUE, such as learning_rate=3e-4")
        if name in model_kinds:
            model_values[name] = _parsed(name, text, model_kinds[name])
        elif name in recipe_kinds:
            recipe_values[name] = _parsed(name, text, recipe_kinds[name])
        else:
            known = ", ".join((*model_kinds, *recipe_kinds))
            raise ValueError(f"{name!r} is not a field of model or recipe; the fields are {known}")
    return replace(model, **model_values), replace(recipe, **recipe_values)


def _parsed(name: str, text: str, kind: Any) -> Any:
    """The text as a value of the field's type; the configuration itself checks whether the field accepts it."""
    if get_origin(kind) is Literal:
        return text
    try:
        return _TRUTHS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"{name} is {text!r}, but must be {_KINDS[kind]}") from None
