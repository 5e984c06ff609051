"""Defines what a trial is: a model, a recipe and a seed."""

from dataclasses import asdict, dataclass
from typing import Any

from vit.model.config import ViTConfig
from vit.training.recipes import Recipe


@dataclass(frozen=True)
class TrialSpec:
    """All that defines a trial. Trial 0 of every sweep is the published configuration."""

    index: int
    model: ViTConfig
    recipe: Recipe
    seed: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrialSpec":
        model, recipe = ViTConfig(**values["model"]), Recipe(**values["recipe"])
        return TrialSpec(values["index"], model, recipe, values["seed"])

    @property
    def params(self) -> dict[str, Any]:
        """Every field of model and recipe by its own name, and the seed."""
        return {**asdict(self.model), **asdict(self.recipe), "seed": self.seed}
