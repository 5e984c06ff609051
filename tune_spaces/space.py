"""What a search space is, and how its trials are drawn."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from ray.tune.search.sample import Domain

from vit.data import DataShape
from vit.model import ViTConfig
from vit.recipes import Recipe, published

Domains = dict[str, Domain]


@dataclass(frozen=True)
class Space:
    """A search space: for each hyperparameter that varies, a Ray Tune domain (`tune.choice`, `tune.loguniform`, ...).

    Keys are fields of `ViTConfig` and `Recipe`, or `head_width`: the width of a token is always heads x head width,
    so every draw is a valid model.
    """

    name: str
    question: str
    max_epochs: int
    """Full length of a trial where the user names none."""
    domains: Callable[[DataShape], Domains]


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


def draw_trials(space: Space, shape: DataShape, count: int, epochs: int, seed: int) -> list[TrialSpec]:
    """The first `count` trials of a sweep.

    Trial i depends on the space, the data's shape, the epochs and (seed, i) alone: a longer list begins with the
    shorter one, in any process.
    """
    domains = space.domains(shape)
    baseline_model, baseline_recipe = published(shape, epochs)
    specs = [TrialSpec(0, baseline_model, baseline_recipe, _training_seed(seed, 0))]
    for index in range(1, count):
        rng = np.random.default_rng((seed, index))
        drawn = {name: _plain(domain.sample(random_state=rng)) for name, domain in sorted(domains.items())}
        specs.append(_spec(index, drawn, specs[0], _training_seed(seed, index)))
    return specs


def _spec(index: int, drawn: dict[str, Any], baseline: TrialSpec, training_seed: int) -> TrialSpec:
    model_values, recipe_values = asdict(baseline.model), asdict(baseline.recipe)
    head_width = drawn.pop("head_width", baseline.model.embed_dim // baseline.model.num_heads)
    model_fields = {field.name for field in fields(ViTConfig)}
    for name, value in drawn.items():
        (model_values if name in model_fields else recipe_values)[name] = value
    model_values["embed_dim"] = model_values["num_heads"] * head_width
    return TrialSpec(index, ViTConfig(**model_values), Recipe(**recipe_values), training_seed)


def _training_seed(seed: int, index: int) -> int:
    # The last word of the key keeps this stream apart from the one that draws the hyperparameters.
    return int(np.random.default_rng((seed, index, 1)).integers(2**31))


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own, so that it survives JSON."""
    return value.item() if isinstance(value, np.generic) else value


def patch_sizes(img_size: int, fewest: int, most: int) -> list[int]:
    """Patch sizes that divide the image and give from `fewest` to `most` patches, smallest first."""
    divisors = [size for size in range(1, img_size + 1) if img_size % size == 0]
    return [size for size in divisors if fewest <= (img_size // size) ** 2 <= most]
