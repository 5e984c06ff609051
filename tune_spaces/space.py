"""What a search space is, and how its trials are drawn. Its domains are Ray Tune's; what a trial is knows no Ray."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.sample import Domain

from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe, published

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


def drawn_value(spec: TrialSpec, name: str) -> Any:
    """What a trial has of a hyperparameter that a space names.

    Raises:
        KeyError: no model and no recipe has such a field.
    """
    return spec.model.embed_dim // spec.model.num_heads if name == "head_width" else spec.params[name]


def is_log(domain: Domain) -> bool:
    """Whether a domain draws evenly by the logarithm."""
    return isinstance(domain.get_sampler(), tune.search.sample.LogUniform)


def bounds(domain: Domain) -> tuple[float, float] | None:
    """The ends of a range of floats or integers, both within it; None for a choice and every other domain."""
    sample = tune.search.sample
    if not isinstance(domain.get_sampler(), (sample.Uniform, sample.LogUniform)):
        return None
    if isinstance(domain, sample.Integer):
        return domain.lower, domain.upper - 1  # Ray leaves the upper end out
    return (float(domain.lower), float(domain.upper)) if isinstance(domain, sample.Float) else None


def describe_domain(domain: Domain) -> str:
    """A domain in one short text: `3e-4..5e-3 (log)`, `2..6` (both ends within it), `2, 4, 8`.

    What is neither a range nor a choice (normal, quantised) is described by how it draws, in Ray's names:
    `Float(0, 1), Quantized(q=0.1, sampler=Uniform())`; a function by its name. For people: what names a search is the
    trials that it draws.
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
    """A sampler by its name and all its settings, those of one within it too."""
    settings = {name: value for name, value in sorted(vars(sampler).items()) if not callable(value)}
    texts = [
        f"{name}={_sampler_text(value) if isinstance(value, tune.search.sample.Sampler) else short_text(value)}"
        for name, value in settings.items()
    ]
    return f"{type(sampler).__name__.strip('_')}({', '.join(texts)})"


def short_text(value: Any, digits: int = 6) -> str:
    """A value in few characters: a float in the shorter of plain and scientific form, all else as it is.

    `digits` are the significant ones of a float.
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return min(f"{value:.{digits}g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
