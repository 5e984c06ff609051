"""The gate's rules: each judges what was measured and gives pass or fail, with the numbers and the limit it used.

All rules must pass. Where there is no champion to compare with, only the rule `guessing` applies.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.promote.corruptions import COUNT
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.scoring import Score
from pipeline.promote.standing import SIGNIFICANCE, standing_of
from pipeline.statistics.bootstrap import bootstrap_mean
from pipeline.statistics.intervals import Interval, accuracy_interval
from pipeline.statistics.medians import median_interval
from pipeline.statistics.multiple_tests import holm
from pipeline.statistics.paired import compare_paired

_MOST_NAMED = 3
"""How many classes a result names in words at most; its numbers hold all classes."""


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule."""

    rule: str
    outcome: Literal["pass", "fail", "not applicable"]
    found: str
    """The measured numbers, in words."""
    limit: str
    """What the rule requires, in words."""
    numbers: dict[str, Any]


def judge(new: Score, old: Score | None, class_names: tuple[str, ...], config: GateConfig) -> list[RuleResult]:
    """Applies all rules, in the order of the table, to the challenger `new` and the champion `old`."""
    guessing = judge_guessing(new)
    if old is None:
        compared = ("accuracy", "classes", "calibration", "latency", "size", "robustness")
        no_champion = "there is no champion to compare with"
        return [guessing, *(RuleResult(name, "not applicable", no_champion, "-", {}) for name in compared)]
    return [
        guessing,
        judge_accuracy(new, old, config),
        judge_classes(new, old, class_names, config),
        judge_calibration(new, old, config),
        judge_latency(new, old, config),
        judge_size(new, old, config),
        judge_robustness(new, old, config),
    ]


def judge_guessing(new: Score) -> RuleResult:
    """Fails unless Wilson's 95% interval of the accuracy lies above the share of the commonest class.

    That share is the accuracy of always predicting the commonest class.
    """
    interval = accuracy_interval(new.correct, new.images)
    share = float(np.bincount(new.predictions.labels).max() / new.images)
    return RuleResult(
        "guessing",
        _outcome(interval.low > share),
        f"accuracy {new.accuracy:.2%} ({new.correct} of {new.images}), 95% interval {_percents(interval)}",
        f"above {share:.2%}, the commonest class's share",
        {"accuracy": new.accuracy, **_ends(interval), "commonest_share": share},
    )


def judge_accuracy(new: Score, old: Score, config: GateConfig) -> RuleResult:
    """Passes only a challenger that is proven better (`standing_of`).

    A challenger that is `same` does not pass: changing the champion has a cost, and here it would bring no visible
    gain.
    """
    comparison = compare_paired(old.predictions.correct, new.predictions.correct)
    standing = standing_of(comparison, config.equivalence_margin)
    numbers = {
        "standing": standing,
        "difference": comparison.difference,
        **_ends(comparison.interval),
        "p_value": comparison.p_value,
        "only_challenger": comparison.only_second,
        "only_champion": comparison.only_first,
    }
    found = (
        f"{standing}: {new.correct} against {old.correct} of {new.images} right, {_points(comparison.difference)}"
        f" {_interval(comparison.interval)}, {comparison.p_text} (McNemar: {comparison.only_second} against"
        f" {comparison.only_first} that only one gets right)"
    )
    return RuleResult("accuracy", _outcome(standing == "better"), found, "better", numbers)


def judge_classes(new: Score, old: Score, class_names: tuple[str, ...], config: GateConfig) -> RuleResult:
    """Fails where a class is proven worse by more than the margin.

    That is so where the whole paired interval of the difference, challenger minus champion, lies below minus the
    margin, and McNemar's p-value, corrected for the number of classes, is below 0.05. A class that merely looks worse
    does not fail: among many small classes, some always look worse by chance, and for a class of a few images the
    bootstrap's interval is far too narrow.
    """
    labels, margin = new.predictions.labels, config.class_margin
    compared = {
        name: compare_paired(old.predictions.correct[own], new.predictions.correct[own])
        for index, name in enumerate(class_names)
        if (own := labels == index).any()
    }
    adjusted = holm([each.p_value for each in compared.values()])
    classes: list[dict[str, Any]] = []
    for (name, each), p_value in zip(compared.items(), adjusted, strict=True):
        counts = {"images": each.images, "difference": each.difference, **_ends(each.interval), "p_value": p_value}
        worse = each.interval.high < -margin and p_value < SIGNIFICANCE
        classes.append({"class": name, **counts, "worse": worse})
    classes.sort(key=lambda each: float(each["difference"]))
    failed = [each for each in classes if each["worse"]]
    told = ", ".join(_class_words(each) for each in failed[:_MOST_NAMED] or classes[:1])
    more = f" and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
    found = f"worse: {told}{more}" if failed else f"none is proven worse; lowest: {told}"
    return RuleResult(
        "classes", _outcome(not failed), found, f"none worse by more than {_size(margin)}", {"classes": classes}
    )


def judge_calibration(new: Score, old: Score, config: GateConfig) -> RuleResult:
    """Fails where the expected calibration error exceeds the champion's by more than the margin."""
    more = new.calibration_error - old.calibration_error
    return RuleResult(
        "calibration",
        _outcome(more <= config.calibration_margin),
        f"ECE {new.calibration_error:.4f} against {old.calibration_error:.4f}",
        f"larger by at most {config.calibration_margin:g}",
        {"challenger": new.calibration_error, "champion": old.calibration_error, "difference": more},
    )


def judge_latency(new: Score, old: Score, config: GateConfig) -> RuleResult:
    """Fails where the challenger is proven too slow for any of the request sizes.

    The median of the rounds' ratios, challenger to champion, decides: the rule fails only where its whole 95% interval
    lies above the limit, since on a busy machine a single ratio may be anything. p50 and p95 are only shown beside it.
    """
    words, numbers, is_slow = [], {}, False
    for batch, latency in new.latencies.items():
        ratios = latency.rounds / old.latencies[batch].rounds
        ratio, interval = float(np.median(ratios)), median_interval(ratios)
        is_slow |= interval.low > config.max_latency_ratio
        numbers[f"batch_{batch}"] = {"ratio": ratio, **_ends(interval)}
        words.append(
            f"batch {batch}: {ratio:.2f} times ({interval.low:.2f} to {interval.high:.2f}); p50"
            f" {_both(new, old, batch, 'p50')} ms, p95 {_both(new, old, batch, 'p95')} ms"
        )
    limit = f"at most {config.max_latency_ratio:g} times the champion's"
    return RuleResult("latency", _outcome(not is_slow), "; ".join(words), limit, numbers)


def judge_size(new: Score, old: Score, config: GateConfig) -> RuleResult:
    """Fails where the ratio of parameters or of bytes, challenger to champion, is above the limit."""
    # A registered model may have no parameters; if neither model has any, only the bytes count.
    parameters = new.parameters / max(old.parameters, 1)
    size = new.size / old.size
    return RuleResult(
        "size",
        _outcome(max(parameters, size) <= config.max_size_ratio),
        f"{parameters:.2f} times the parameters ({new.parameters:,} against {old.parameters:,}), {size:.2f} times the"
        f" bytes ({new.size:,} against {old.size:,})",
        f"at most {config.max_size_ratio:g} times",
        {"parameters_ratio": parameters, "bytes_ratio": size},
    )


def judge_robustness(new: Score, old: Score, config: GateConfig) -> RuleResult:
    """Fails where the mean accuracy on corrupted images is proven worse by more than the margin.

    The bootstrap draws whole images, each with the share of its corrupted forms that a model gets right, since the
    forms of one image are not independent.
    """
    limit = f"worse by at most {_size(config.robustness_margin)}"
    if not config.robustness:
        return RuleResult("robustness", "not applicable", "not asked for (--robustness)", limit, {})
    gained = sum(
        new.corrupted_correct[name].astype(np.int64) - old.corrupted_correct[name] for name in new.corrupted_correct
    )
    values, counts = np.unique(gained, return_counts=True)
    interval = bootstrap_mean(values / COUNT, counts)
    accuracies = [float(np.mean(list(score.corrupted_correct.values()))) for score in (new, old)]
    by_kind = {
        name: [float(score.corrupted_correct[name].mean()) for score in (new, old)] for name in new.corrupted_correct
    }
    return RuleResult(
        "robustness",
        _outcome(not interval.high < -config.robustness_margin),
        f"corrupted images: {accuracies[0]:.2%} against {accuracies[1]:.2%}, {_points(accuracies[0] - accuracies[1])}"
        f" {_interval(interval)}",
        limit,
        {"challenger": accuracies[0], "champion": accuracies[1], **_ends(interval), "by_kind": by_kind},
    )


def _outcome(passes: bool) -> Literal["pass", "fail"]:
    return "pass" if passes else "fail"


def _both(new: Score, old: Score, batch: int, quantile: str) -> str:
    values = (getattr(score.latencies[batch], quantile) for score in (new, old))
    return " against ".join(f"{value:.2f}" for value in values)


def _class_words(each: dict[str, Any]) -> str:
    interval = Interval(each["low"], each["high"])
    return f"{each['class']} {_points(each['difference'])} {_interval(interval)} of {each['images']} images"


def _ends(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high}


def _percents(interval: Interval) -> str:
    return f"{interval.low:.2%} to {interval.high:.2%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"


def _size(margin: float) -> str:
    return f"{100 * margin:g} points"


def _interval(interval: Interval) -> str:
    return f"({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
