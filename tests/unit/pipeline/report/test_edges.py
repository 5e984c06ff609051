"""Tests the warnings about ranges at whose edges the best trials crowd."""

from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.search.sample import Domain

from pipeline.report.edges import edge_warnings
from pipeline.trials.records import BestEpoch, TrialResult
from tune_spaces.space import Domains, Space
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe, fast30_conv

RATE = tune.loguniform(3e-4, 5e-3)
SWEEP = 32
SHAPE = DataShape(32, 3, 10, mirror_safe=True)


def result(index: int, has_epoch: bool = True, head_width: int = 16, **values: Any) -> TrialResult:
    """Returns a trial with these values in the fields of its model and its recipe."""
    model = {name: values.pop(name) for name in ("depth", "num_heads", "patch_size", "stem") if name in values}
    width = head_width * model.get("num_heads", 2)
    spec = TrialSpec(index, ViTConfig(**{"num_heads": 2, **model}, embed_dim=width), Recipe(**values), seed=0)
    best = BestEpoch(1, 1 - index / 10_000, 1.0) if has_epoch else None
    return TrialResult(spec, "finished", best, 1, 1.0, (), run_id="")


def ranked(name: str, values: list[Any], of: int = SWEEP) -> list[TrialResult]:
    """Returns `of` trials, best first: the best have these values, one each, and all others have the last of them."""
    padded = values + [values[-1]] * (of - len(values))
    return [result(index, **{name: value}) for index, value in enumerate(padded, start=1)]


def warnings(name: str, domain: Domain, values: list[Any], of: int = SWEEP) -> list[str]:
    return warnings_of({name: domain}, ranked(name, values, of))


def warnings_of(domains: Domains, trials: list[TrialResult]) -> list[str]:
    return edge_warnings(Space("mine", 9, lambda shape: domains), SHAPE, trials)


def test_the_best_learning_rates_at_the_upper_edge() -> None:
    # The upper tenth on the log scale begins at 5e-3 / (5 / 0.3) ** 0.1 = 3.77e-3.
    assert warnings("learning_rate", RATE, [4.9e-3, 4.1e-3, 4.5e-3, 1e-3]) == [
        "learning_rate: the best 3 trials lie at 0.0041 to 0.0049, at the upper edge of 3e-4..5e-3 (log): "
        "widen it upwards"
    ]


def test_the_lower_edge_is_widened_downwards() -> None:
    [line] = warnings("depth", tune.randint(2, 7), [2, 2, 2, 5])
    assert line == "depth: the best 3 trials lie at 2, at the lower edge of 2..6: widen it downwards"


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (RATE, 3.78e-3, 3.76e-3),  # 5e-3 / 16.667 ** 0.1 = 3.774e-3
        (RATE, 3.97e-4, 3.98e-4),  # 3e-4 * 16.667 ** 0.1 = 3.975e-4
        (tune.uniform(1e-3, 11e-3), 1.99e-3, 2.01e-3),
        (tune.uniform(1e-3, 11e-3), 10.01e-3, 9.99e-3),
    ],
)
def test_the_edge_is_a_tenth_on_the_scale_of_the_draw(domain: Domain, inside: float, outside: float) -> None:
    assert len(warnings("learning_rate", domain, [inside] * 3 + [1e-3])) == 1
    assert warnings("learning_rate", domain, [inside, inside, outside, 1e-3]) == []
    assert warnings("learning_rate", domain, [outside] * 3) == []


def test_both_edges_are_not_one() -> None:
    assert warnings("learning_rate", RATE, [3.1e-4, 4.9e-3, 4.9e-3, 1e-3]) == []


def test_integers_next_to_an_end_are_not_at_it() -> None:
    assert warnings("depth", tune.randint(2, 7), [5, 5, 5]) == []
    assert warnings("depth", tune.randint(2, 7), [6, 6, 5]) == []
    assert "upper edge of 2..6: widen it upwards" in warnings("depth", tune.randint(2, 7), [6, 6, 6])[0]


def test_a_numeric_choice_has_its_edges_at_its_lowest_and_highest_option() -> None:
    five = tune.choice([32, 256, 64, 128, 512])
    assert warnings("batch_size", five, [512] * 3) == [
        "batch_size: the best 3 trials lie at 512, at the upper edge of 32, 256, 64, 128, 512: widen it upwards"
    ]
    assert "lower edge" in warnings("batch_size", five, [32] * 3)[0]
    assert warnings("batch_size", five, [256] * 3) == []


@pytest.mark.parametrize(("of", "count"), [(32, 0), (49, 0), (50, 1)])
def test_three_options_agree_by_chance_too_often_for_a_few_trials(of: int, count: int) -> None:
    # The chance that all of the best 3, 4 or 5 trials drew this option is (1/3)**3 = 3.7%, (1/3)**4 = 1.2% or
    # (1/3)**5 = 0.4%.
    assert len(warnings("batch_size", tune.choice([32, 64, 128]), [128], of)) == count


def test_an_option_named_twice_is_drawn_twice_as_often() -> None:
    assert warnings("batch_size", tune.choice([16, 32, 64, 128, 128]), [128] * 3) == []  # 0.4 ** 3 = 6.4%
    assert len(warnings("batch_size", tune.choice([16, 16, 32, 64, 128]), [128] * 3)) == 1  # 0.2 ** 3 = 0.8%


def test_the_lowest_of_log_integers_is_drawn_more_often_than_the_highest() -> None:
    # From 2..16, 2 is drawn with a chance of log(3/2) / log(17/2) = 0.19, so three times with 0.7%. From 2..9, it is
    # drawn with a chance of log(3/2) / log(5) = 0.25, so three times with 1.6%.
    assert len(warnings("depth", tune.lograndint(2, 17), [2] * 3)) == 1
    assert warnings("depth", tune.lograndint(2, 10), [2] * 3) == []
    assert len(warnings("depth", tune.lograndint(2, 10), [9] * 3)) == 1


@pytest.mark.parametrize(
    ("name", "domain", "value"),
    [
        ("stem", tune.choice(["patch", "conv", "convolution"]), "conv"),
        ("flip", tune.choice([True, False]), True),
        ("flip", tune.choice([False, True, True]), False),
        ("clip_grad", tune.choice([1.0, 5.0]), 5.0),
        ("batch_size", tune.choice([64]), 64),
        ("learning_rate", tune.loguniform(1e-3, 1e-3), 1e-3),
        ("learning_rate", tune.quniform(1e-3, 5e-3, 1e-3), 5e-3),
        ("depth", tune.randint(3, 4), 3),
    ],
)
def test_these_have_no_edges(name: str, domain: Domain, value: Any) -> None:
    assert warnings(name, domain, [value], of=400) == []


@pytest.mark.parametrize(
    ("name", "domain", "value"),
    [
        ("rotation", tune.choice([0.0, 5.0, 10.0, 15.0, 20.0]), 0.0),
        ("weight_decay", tune.uniform(0, 0.3), 0.0),
        ("patch_size", tune.choice([1, 2, 4, 8, 16]), 1),
        ("depth", tune.randint(1, 9), 1),
    ],
)
def test_an_end_beyond_which_nothing_lies_is_none_to_widen(name: str, domain: Domain, value: Any) -> None:
    assert warnings(name, domain, [value] * 3) == []


def test_a_float_range_may_be_widened_below_one() -> None:
    assert len(warnings("clip_grad", tune.uniform(1, 5), [1.1] * 3)) == 1


def test_only_the_best_tenth_is_looked_at() -> None:
    assert len(warnings("learning_rate", RATE, [4.9e-3] * 3 + [1e-3], of=39)) == 1
    assert len(warnings("learning_rate", RATE, [4.9e-3] * 6 + [1e-3], of=60)) == 1
    assert warnings("learning_rate", RATE, [4.9e-3] * 3 + [1e-3], of=60) == []
    assert warnings("learning_rate", RATE, [1e-3] * 3 + [4.9e-3]) == []


def test_two_thirds_of_the_best_are_enough_where_there_are_more_than_three() -> None:
    [line] = warnings("learning_rate", RATE, [4.9e-3, 1e-3, 4.1e-3, 1e-3, 4.2e-3, 4.3e-3, 1e-3], of=60)
    assert line.startswith("learning_rate: 4 of the best 6 trials lie at 0.0041 to 0.0049, at the upper edge")
    assert warnings("learning_rate", RATE, [4.9e-3] * 3 + [1e-3], of=60) == []


def test_trial_0_and_trials_without_an_epoch_do_not_count() -> None:
    at_edge = [result(index, learning_rate=4.9e-3) for index in (1, 2, 3)]
    published, empty = result(0, learning_rate=1e-3), result(9, has_epoch=False, learning_rate=1e-3)
    domains: Domains = {"learning_rate": RATE}
    assert len(warnings_of(domains, [published, at_edge[0], empty, *at_edge[1:]])) == 1
    assert warnings_of(domains, [published, *at_edge[:2], empty]) == []
    assert warnings_of(domains, []) == []


def test_the_best_known_recipe_does_not_count() -> None:
    trials = [result(index, learning_rate=4.9e-3) for index in (1, 2, 3, 4)]
    space = Space("mine", 9, lambda shape: {"learning_rate": RATE}, base=fast30_conv)
    assert len(edge_warnings(space, SHAPE, trials)) == 1
    assert edge_warnings(space, SHAPE, trials[:3]) == []


def test_head_width_is_the_width_of_a_token_over_its_heads() -> None:
    trials = [result(index, num_heads=heads, head_width=64) for index, heads in ((1, 2), (2, 3), (3, 4))]
    [line] = warnings_of({"head_width": tune.choice([8, 16, 32, 48, 64])}, trials)
    assert line.startswith("head_width: the best 3 trials lie at 64, at the upper edge of 8, 16, 32, 48, 64")


def test_every_crowded_hyperparameter_has_its_line() -> None:
    trials = [result(index, learning_rate=4.9e-3, depth=6, batch_size=64) for index in (1, 2, 3)]
    domains: Domains = {
        "learning_rate": RATE,
        "batch_size": tune.choice([32, 64, 96, 128, 256]),
        "depth": tune.randint(2, 7),
    }
    assert [line.partition(":")[0] for line in warnings_of(domains, trials)] == ["learning_rate", "depth"]


def test_draws_without_effect_rarely_warn() -> None:
    domains: Domains = {
        "learning_rate": RATE,
        "depth": tune.randint(2, 7),
        "batch_size": tune.choice([32, 64, 128]),
        "rotation": tune.choice([4.0, 8.0, 12.0, 16.0, 20.0]),
    }
    random = np.random.default_rng(0)
    lines = 0
    for _ in range(300):
        draws = [{name: domain.sample(random_state=random) for name, domain in domains.items()} for _ in range(3)]
        lines += len(warnings_of(domains, [result(index, **draw) for index, draw in enumerate(draws, start=1)]))
    # A sweep is expected to have 0.2% + 1.6% + 0 + 1.6% warnings, so 300 sweeps have 10; the chance of more than 21 is
    # below 1 in 1,000.
    assert 1 <= lines <= 21
