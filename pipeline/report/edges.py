"""Warns where the best trials lie at the edge of a searched range, since a better one may then lie beyond it.

The check is that of the tuning playbook (Godbole et al. 2023, https://github.com/google-research/tuning_playbook,
"Identifying bad search space boundaries").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ray.tune.search.sample import Categorical, Domain, Integer

from pipeline.trials.records import TrialResult
from tune_spaces.space import Space, bounds, describe_domain, drawn_value, is_log, short_text
from vit.data.arrays import DataShape

FEWEST_BEST_TRIALS = 3
"""How many of the best trials are looked at: this many, or a tenth of all where that is more."""
EDGE_WIDTH = 0.1
"""The width of an edge of a range of floats: a share of the range, on the scale on which it was drawn."""
MAJORITY = 2 / 3
MOST_CHANCE = 0.01
"""A warning requires that, if the hyperparameter did not matter, as many of the best trials would lie at the edge with
at most this chance."""


@dataclass(frozen=True)
class _Edge:
    """One end of a hyperparameter's values."""

    side: Literal["lower", "upper"]
    limit: float
    """The value at which an upper edge begins or a lower edge ends; it belongs to the edge."""
    chance: float
    """The chance that a single draw lies at the edge."""

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.side == "lower" else value >= self.limit


def edge_warnings(space: Space, shape: DataShape, trials: Sequence[TrialResult]) -> list[str]:
    """Returns a line for each edge of a range at which the best trials crowd, saying how to widen the range.

    The best trials are a tenth of the drawn trials that completed an epoch, and at least 3. The published
    configuration and the space's base are not drawn and do not count. The edges of a range of floats are its outer
    tenths; those of integers, and of numeric choices of three options or more, are the lowest and the highest value.
    Strings, booleans and choices of two options have no edges. There is no edge either at an end that cannot be
    widened: 0, or 1 for whole numbers.

    A line requires that at least two thirds of the best trials lie at an edge, and that this would have a chance of at
    most 1% (binomial) if the hyperparameter did not matter. So a hyperparameter without effect causes a warning in at
    most 2% of the sweeps, for its two edges together; in 0.2% for a range of floats and the best 3 trials. It also
    means that three options (1/3 each) cause a warning only when all of the best 5 trials agree, which takes 50 trials,
    and five options or integers when all of the best 3 trials agree.

    Args:
        space: the space that was searched.
        shape: the shape of the data set.
        trials: the trials, best first.
    """
    drawn = [trial.spec for trial in trials if trial.best is not None and trial.index >= len(space.known)]
    if len(drawn) < FEWEST_BEST_TRIALS:
        return []
    best = drawn[: max(FEWEST_BEST_TRIALS, len(drawn) // 10)]
    lines = []
    for name, domain in space.domains(shape).items():
        values = [drawn_value(spec, name) for spec in best]
        lines += [_line(name, domain, edge, values) for edge in _edges(domain) if _is_crowded(edge, values)]
    return lines


def _edges(domain: Domain) -> list[_Edge]:
    if isinstance(domain, Categorical):
        return _edges_of_options(domain.categories)
    ends = bounds(domain)
    if ends is None or ends[0] >= ends[1]:
        return []
    edges = _edges_of_integers if isinstance(domain, Integer) else _edges_of_floats
    return [edge for edge in edges(*ends, is_log(domain)) if not _is_natural_end(edge, ends[0])]


def _edges_of_options(options: list[Any]) -> list[_Edge]:
    numeric = all(isinstance(option, (int, float)) and not isinstance(option, bool) for option in options)
    if not numeric or len(set(options)) < 3:
        return []
    low, high = min(options), max(options)
    edges = [
        _Edge("lower", low, options.count(low) / len(options)),
        _Edge("upper", high, options.count(high) / len(options)),
    ]
    return [edge for edge in edges if not _is_natural_end(edge, low)]


def _edges_of_integers(low: float, high: float, log: bool) -> list[_Edge]:
    # An integer is drawn as the floor of a float, so its chance is the length of its interval on the scale of the draw.
    scale = math.log if log else float
    whole = scale(high + 1) - scale(low)
    return [
        _Edge("lower", low, (scale(low + 1) - scale(low)) / whole),
        _Edge("upper", high, (scale(high + 1) - scale(high)) / whole),
    ]


def _edges_of_floats(low: float, high: float, log: bool) -> list[_Edge]:
    if log:
        factor = (high / low) ** EDGE_WIDTH
        return [_Edge("lower", low * factor, EDGE_WIDTH), _Edge("upper", high / factor, EDGE_WIDTH)]
    width = (high - low) * EDGE_WIDTH
    return [_Edge("lower", low + width, EDGE_WIDTH), _Edge("upper", high - width, EDGE_WIDTH)]


def _is_natural_end(edge: _Edge, lowest: float) -> bool:
    """Whether no value lies beyond the edge: no hyperparameter is negative, and a whole number counts something."""
    return edge.side == "lower" and (lowest == 0 or (isinstance(lowest, int) and lowest == 1))


def _is_crowded(edge: _Edge, values: list[float]) -> bool:
    hits = sum(edge.holds(value) for value in values)
    return hits >= MAJORITY * len(values) and _chance(hits, len(values), edge.chance) <= MOST_CHANCE


def _chance(hits: int, draws: int, chance: float) -> float:
    """Returns the probability of at least `hits` hits in `draws` draws, where each hits with probability `chance`."""
    return sum(math.comb(draws, k) * chance**k * (1 - chance) ** (draws - k) for k in range(hits, draws + 1))


def _line(name: str, domain: Domain, edge: _Edge, values: list[float]) -> str:
    there = sorted(value for value in values if edge.holds(value))
    count = f"the best {len(values)}" if len(there) == len(values) else f"{len(there)} of the best {len(values)}"
    texts = [short_text(value, digits=2) for value in (there[0], there[-1])]
    where = texts[0] if texts[0] == texts[1] else " to ".join(texts)
    way = "downwards" if edge.side == "lower" else "upwards"
    domain_text = describe_domain(domain)
    return f"{name}: {count} trials lie at {where}, at the {edge.side} edge of {domain_text}: widen it {way}"
