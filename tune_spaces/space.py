"""Defines a search space over Ray Tune's domains and draws its trials, which themselves do not depend on Ray."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.sample import Domain

from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe, published, refuse_mirroring

Domains = dict[str, Domain]


@dataclass(frozen=True)
class Space:
    """A search space: for each hyperparameter that varies, a Ray Tune domain (`tune.choice`, `tune.loguniform`, ...).

    Keys are fields of `ViTConfig` and `Recipe`, or `head_width`: the width of a token is always heads x head width,
    so every draw is a valid model.
    """

    name: str
    max_epochs: int
    """Full length of a trial, unless the user sets another."""
    domains: Callable[[DataShape], Domains]
    base: Callable[[DataShape], tuple[ViTConfig, Recipe]] = published
    """The model and the recipe that give a trial its values of all that does not vary. Where this is not the published
    configuration, it is the best known recipe, and is itself trial 1 of every sweep."""

    @property
    def known(self) -> tuple[Callable[[DataShape], tuple[ViTConfig, Recipe]], ...]:
        """The configurations with which every sweep begins; all trials after them are drawn."""
        return (published,) if self.base is published else (published, self.base)


def draw_trials(space: Space, shape: DataShape, count: int, epochs: int, seed: int) -> list[TrialSpec]:
    """The first `count` trials of a sweep.

    Trial i depends only on the space, the data's shape, the epochs and (seed, i), so a longer list begins with the
    shorter one, in any process.
    """
    domains = space.domains(shape)
    specs = first_trials(space, shape, epochs, seed)[:count]
    for index in range(len(specs), count):
        rng = np.random.default_rng((seed, index))
        drawn = {name: _plain(domain.sample(random_state=rng)) for name, domain in sorted(domains.items())}
        specs.append(trial_of(index, drawn, space, shape, epochs, seed))
    return specs


def first_trials(space: Space, shape: DataShape, epochs: int, seed: int) -> list[TrialSpec]:
    """The trials that every sweep begins with: the published configuration and, if the space has another base, that."""
    specs = []
    for index, configuration in enumerate(space.known):
        model, recipe = configuration(shape)
        specs.append(TrialSpec(index, model, replace(recipe, epochs=epochs), _training_seed(seed, index)))
    return specs


def trial_of(index: int, drawn: Mapping[str, Any], space: Space, shape: DataShape, epochs: int, seed: int) -> TrialSpec:
    """The trial with these values of the hyperparameters that vary.

    Raises:
        ValueError: the space names a field that no model and no recipe has, or a value that the field does not accept.
    """
    base_model, base_recipe = space.base(shape)
    model_values, recipe_values = asdict(base_model), {**asdict(base_recipe), "epochs": epochs}
    values = {**drawn}
    head_width = values.pop("head_width", base_model.embed_dim // base_model.num_heads)
    for name, value in values.items():
        if name not in model_values and name not in recipe_values:
            raise ValueError(f"{name!r} is neither a field of a model or a recipe nor head_width")
        (model_values if name in model_values else recipe_values)[name] = value
    model_values["embed_dim"] = model_values["num_heads"] * head_width
    recipe = Recipe(**recipe_values)
    refuse_mirroring(recipe, shape)
    return TrialSpec(index, ViTConfig(**model_values), recipe, _training_seed(seed, index))


def _training_seed(seed: int, index: int) -> int:
    # The last number of the key keeps this random stream apart from the one that draws the hyperparameters.
    return int(np.random.default_rng((seed, index, 1)).integers(2**31))


def _plain(value: Any) -> Any:
    """Turns a numpy scalar into a value of Python's own types, so that it can be written as JSON."""
    return value.item() if isinstance(value, np.generic) else value


def patch_sizes(img_size: int, fewest: int, most: int) -> list[int]:
    """Patch sizes that divide the image and give from `fewest` to `most` patches, smallest first."""
    divisors = [size for size in range(1, img_size + 1) if img_size % size == 0]
    return [size for size in divisors if fewest <= (img_size // size) ** 2 <= most]


def drawn_value(spec: TrialSpec, name: str) -> Any:
    """A trial's value of a hyperparameter that a space names.

    Raises:
        KeyError: no model and no recipe has such a field.
    """
    return spec.model.embed_dim // spec.model.num_heads if name == "head_width" else spec.params[name]


def is_log(domain: Domain) -> bool:
    """Whether a domain draws uniformly on a logarithmic scale."""
    return isinstance(domain.get_sampler(), tune.search.sample.LogUniform)


def bounds(domain: Domain) -> tuple[float, float] | None:
    """Both ends, inclusive, of a range of floats or integers; None for a choice and every other domain."""
    sample = tune.search.sample
    if not isinstance(domain.get_sampler(), (sample.Uniform, sample.LogUniform)):
        return None
    if isinstance(domain, sample.Integer):
        return domain.lower, domain.upper - 1  # Ray excludes the upper end
    return (float(domain.lower), float(domain.upper)) if isinstance(domain, sample.Float) else None


def describe_domain(domain: Domain) -> str:
    """A domain in one short text: `3e-4..5e-3 (log)`, `2..6` (both ends inclusive), `2, 4, 8`.

    A domain that is neither a range nor a choice (normal, quantised) is described by its sampler, in Ray's names:
    `Float(0, 1), Quantized(q=0.1, sampler=Uniform())`; a function is described by its name. The text is only for people
    to read: a search is identified by the trials that it draws.
    """
    if isinstance(domain, tune.search.sample.Categorical):
        return ", ".join(short_text(option) for option in domain.categories)
    if isinstance(domain, tune.search.sample.Function):
        return f"sample_from({getattr(domain.func, '__qualname__', type(domain.func).__name__)})"
    ends = bounds(domain)
    if ends is None:
        return f"{type(domain).__name__}{domain.domain_str}, {_sampler_text(domain.get_sampler())}"
    return "..".join(short_text(end) for end in ends) + (" (log)" if is_log(domain) else "")


def _sampler_text(sampler: Any) -> str:
    """A sampler's name with all its settings, including those of a sampler inside it."""
    settings = {name: value for name, value in sorted(vars(sampler).items()) if not callable(value)}
    texts = [
        f"{name}={_sampler_text(value) if isinstance(value, tune.search.sample.Sampler) else short_text(value)}"
        for name, value in settings.items()
    ]
    return f"{type(sampler).__name__.strip('_')}({', '.join(texts)})"


def short_text(value: Any, digits: int = 6) -> str:
    """A value in few characters: a float in the shorter of plain and scientific form, anything else unchanged.

    `digits` is the number of significant digits of a float.
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return min(f"{value:.{digits}g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
