"""How domains are described to people, and what the checks after a search read of them and of trials."""

from functools import partial
from typing import Any

import pytest
from ray import tune
from ray.tune.search.sample import Domain

from tune_spaces.catalogue import SPACES
from tune_spaces.space import bounds, describe_domain, draw_trials, drawn_value, is_log, short_text
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SHAPE = DataShape(32, 3, num_classes=10, mirror_safe=True)


def a_tenth(config: dict[str, Any]) -> float:
    return 0.1


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (tune.loguniform(3e-4, 5e-3), "3e-4..5e-3 (log)"),
        (tune.loguniform(1e-3, 0.3), "1e-3..0.3 (log)"),
        (tune.uniform(0, 0.25), "0..0.25"),
        (tune.randint(2, 7), "2..6"),
        (tune.lograndint(1, 17), "1..16 (log)"),
        (tune.choice([2, 4, 8]), "2, 4, 8"),
        (tune.choice([0.0, 8.0, 15.0]), "0, 8, 15"),
        (tune.choice(["token", "avg"]), "token, avg"),
        (tune.choice([True, False]), "True, False"),
        (tune.choice([4]), "4"),
        (tune.quniform(0.0, 1.0, 0.25), "Float(0.0, 1.0), Quantized(q=0.25, sampler=Uniform())"),
        (tune.randn(), "Float(-inf, inf), Normal(mean=0, sd=1)"),
        (tune.sample_from(a_tenth), "sample_from(a_tenth)"),
        (tune.sample_from(partial(a_tenth)), "sample_from(partial)"),
    ],
)
def test_a_domain_in_words(domain: Domain, text: str) -> None:
    assert describe_domain(domain) == text


def test_domains_that_draw_differently_are_described_differently() -> None:
    domains = [
        tune.quniform(0, 1, 0.1), tune.quniform(0, 1, 0.25), tune.qloguniform(0.1, 1, 0.1), tune.quniform(0.1, 1, 0.1),
        tune.qrandint(2, 16, 2), tune.qrandint(2, 16, 4), tune.qlograndint(2, 16, 2), tune.randn(0, 1),
        tune.randn(5, 2), tune.qrandn(0, 1, 0.1), tune.uniform(0, 1), tune.randint(2, 16), tune.choice([0, 1]),
    ]  # fmt: skip
    assert len({describe_domain(domain) for domain in domains}) == len(domains)


@pytest.mark.parametrize(
    ("domain", "ends", "log"),
    [
        (tune.loguniform(3e-4, 5e-3), (3e-4, 5e-3), True),
        (tune.uniform(-1.0, 2.0), (-1.0, 2.0), False),
        (tune.randint(2, 7), (2, 6), False),
        (tune.lograndint(2, 7), (2, 6), True),
        (tune.choice([1, 2]), None, False),
        (tune.quniform(0.0, 1.0, 0.25), None, False),
        (tune.qrandint(0, 10, 5), None, False),
        (tune.randn(), None, False),
    ],
)
def test_the_ends_of_a_range(domain: Domain, ends: tuple[float, float] | None, log: bool) -> None:
    assert bounds(domain) == ends
    assert is_log(domain) == log


def test_the_ends_of_an_integer_range_are_drawn_and_nothing_beyond() -> None:
    ends = bounds(tune.randint(2, 7))
    drawn = {tune.randint(2, 7).sample() for _ in range(300)}
    assert ends == (min(drawn), max(drawn))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.00041234, 2, "4.1e-4"),
        (0.0049, 2, "0.0049"),
        (0.00996, 2, "0.01"),
        (0.25, 2, "0.25"),
        (12.3456, 6, "12.3456"),
        (1e-05, 6, "1e-5"),
        (1e20, 6, "1e20"),
        (0.00035, 6, "3.5e-4"),
        (-0.001, 6, "-1e-3"),
        (1000, 6, "1000"),
        (1000.0, 6, "1e3"),
        (128.0, 6, "128"),
        (0.0, 2, "0"),
        (float("inf"), 6, "inf"),
        ("conv", 6, "conv"),
        (None, 6, "None"),
    ],
)
def test_a_value_in_few_characters(value: Any, digits: int, text: str) -> None:
    assert short_text(value, digits) == text


def test_what_a_trial_has_of_each_hyperparameter() -> None:
    spec = TrialSpec(3, ViTConfig(embed_dim=96, num_heads=2, depth=5), Recipe(learning_rate=2e-3), seed=0)
    drawn = {name: drawn_value(spec, name) for name in ("head_width", "num_heads", "depth", "stem", "learning_rate")}
    assert drawn == {"head_width": 48, "num_heads": 2, "depth": 5, "stem": "patch", "learning_rate": 2e-3}
    with pytest.raises(KeyError, match="colour"):
        drawn_value(spec, "colour")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_drawn_value_is_one_of_its_domain(space: Any) -> None:
    domains = space.domains(SHAPE)
    for spec in draw_trials(space, SHAPE, 20, epochs=3, seed=0)[1:]:
        assert all(domain.is_valid(drawn_value(spec, name)) for name, domain in domains.items())
