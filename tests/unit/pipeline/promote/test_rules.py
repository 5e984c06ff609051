"""Tests of each rule on numbers worked out by hand: what passes, what fails, and on which side its limit lies."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.promote import rules
from pipeline.promote.corruptions import COUNT
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.latency import Latency
from pipeline.trials.predictions import Predictions
from tests.unit.pipeline.promote.scores import CLASSES, score_of

CONFIG = GateConfig()


def test_a_first_champion_must_only_be_better_than_guessing() -> None:
    outcomes = {rule.rule: rule.outcome for rule in rules.judge(score_of(range(100)), None, CLASSES, CONFIG)}
    assert outcomes.pop("guessing") == "pass"
    assert set(outcomes.values()) == {"not applicable"}


# Wilson's interval for 220 of 400 begins at 50.1%, that for 219 at 49.9% (p = n / 400, z = 1.96, worked out by hand).
@pytest.mark.parametrize(("correct", "outcome"), [(220, "pass"), (219, "fail"), (100, "fail")])
def test_better_than_guessing_means_above_the_commonest_class(correct: int, outcome: str) -> None:
    found = rules.judge_guessing(score_of(range(400 - correct)))
    assert (found.outcome, found.numbers["commonest_share"]) == (outcome, 0.5)


def test_only_a_challenger_that_is_proven_better_passes() -> None:
    champion = score_of(range(6))
    better = rules.judge_accuracy(score_of(), champion, CONFIG)
    assert (better.outcome, better.numbers["standing"]) == ("pass", "better")
    assert better.numbers["difference"] == 6 / 400
    assert better.numbers["p_value"] == pytest.approx(2 / 2**6)
    assert better.found.startswith("better: 400 against 394 of 400 right, +1.50 points")
    assert rules.judge_accuracy(score_of([0]), champion, CONFIG).numbers["standing"] == "not proven"
    for same in (champion, score_of([0])):
        assert rules.judge_accuracy(same, champion, CONFIG).outcome == "fail"


@pytest.mark.parametrize(("lost", "outcome"), [(5, "pass"), (15, "pass"), (25, "fail")])
def test_a_class_must_be_proven_worse_by_more_than_the_margin(lost: int, outcome: str) -> None:
    """15 lost of 200 ants are 7.5 ± 3.7 points, which may be less than the margin of 5; 25 are 12.5 ± 4.6 points."""
    found = rules.judge_classes(score_of(range(lost)), score_of(range(300, 350)), CLASSES, CONFIG)
    assert found.outcome == outcome
    by_class = {each["class"]: each for each in found.numbers["classes"]}
    assert by_class["ant"]["difference"] == -lost / 200
    assert by_class["bee"]["difference"] == 50 / 200
    assert (by_class["ant"]["worse"], by_class["bee"]["worse"]) == (outcome == "fail", False)
    if outcome == "fail":
        assert found.found.startswith("worse: ant -12.50 points")


@pytest.mark.parametrize(("lost", "outcome"), [(6, "pass"), (7, "fail")])
def test_a_class_of_few_images_needs_more_than_its_interval(lost: int, outcome: str) -> None:
    """All images of a class lost are -100 points, of no width; but p is 2 / 2**6 for six, too much for two classes."""
    few = np.repeat([0, 1], [lost, 400 - lost])
    champion, challenger = few.copy(), np.ones_like(few)
    new, old = (
        replace(score_of(), predictions=Predictions(few, predicted, np.ones(400), np.ones(400)))
        for predicted in (challenger, champion)
    )
    found = rules.judge_classes(new, old, CLASSES, CONFIG)
    ant = found.numbers["classes"][0]
    assert (ant["class"], ant["high"], ant["p_value"]) == ("ant", -1, 2 * 2 / 2**lost)
    assert found.outcome == outcome


def test_among_a_hundred_classes_some_look_worse_by_chance() -> None:
    """Two models that are equally good: each alone is right about a tenth of the images."""
    labels = np.repeat(np.arange(100), 20)
    sure, outcomes = np.ones(len(labels)), []
    for seed in range(20):
        errs = np.random.default_rng(seed).choice(3, size=len(labels), p=[0.1, 0.1, 0.8])
        new, old = (
            replace(score_of(), predictions=Predictions(labels, np.where(errs == who, -1, labels), sure, sure))
            for who in (0, 1)
        )
        outcomes.append(rules.judge_classes(new, old, tuple(map(str, range(100))), CONFIG).outcome)
    assert outcomes.count("fail") <= 2  # 5% of 20 are one


def test_a_class_without_test_images_is_left_out() -> None:
    found = rules.judge_classes(score_of(), score_of(), (*CLASSES, "cat"), CONFIG)
    assert [each["class"] for each in found.numbers["classes"]] == ["ant", "bee"]


@pytest.mark.parametrize(("confidence", "outcome"), [(0.98, "pass"), (0.97, "fail"), (1.0, "pass")])
def test_calibration_may_be_worse_by_the_margin(confidence: float, outcome: str) -> None:
    """All answers are right: with a confidence of 97%, the calibration error is 0.03; the champion's is 0.01."""
    config = GateConfig(calibration_margin=0.0150)
    found = rules.judge_calibration(score_of(confidence=confidence), score_of(confidence=0.99), config)
    assert found.outcome == outcome
    assert found.numbers["challenger"] == pytest.approx(1 - confidence)


@pytest.mark.parametrize(("milliseconds", "outcome"), [(1.5, "pass"), (1.51, "fail"), (0.5, "pass")])
def test_latency_is_a_ratio(milliseconds: float, outcome: str) -> None:
    found = rules.judge_latency(score_of(milliseconds=milliseconds), score_of(), CONFIG)
    assert (found.outcome, found.numbers["batch_32"]["ratio"]) == (outcome, milliseconds)


def test_a_latency_that_is_high_at_one_size_of_request_only_fails() -> None:
    slow = score_of()
    slow.latencies[32] = Latency(np.full(20, 2.0))
    assert rules.judge_latency(slow, score_of(), CONFIG).outcome == "fail"


def test_a_noisy_machine_refuses_nobody() -> None:
    """The median of the twenty ratios is 3, but its interval, from the sixth to the fifteenth of them, is 1 to 3."""
    noisy = replace(score_of(), latencies={1: Latency(np.array([1.0] * 9 + [3.0] * 11))})
    found = rules.judge_latency(noisy, score_of(), CONFIG)
    assert found.numbers["batch_1"] == {"ratio": 3.0, "low": 1.0, "high": 3.0}
    assert found.outcome == "pass"


@pytest.mark.parametrize(
    ("size", "parameters", "outcome"), [(4000, 400, "pass"), (4001, 100, "fail"), (1000, 401, "fail")]
)
def test_size_is_bytes_and_parameters(size: int, parameters: int, outcome: str) -> None:
    assert rules.judge_size(score_of(size=size, parameters=parameters), score_of(), CONFIG).outcome == outcome


@pytest.mark.parametrize(("lost", "outcome"), [(14, "pass"), (40, "fail")])
def test_robustness_counts_images_not_their_spoiled_forms(lost: int, outcome: str) -> None:
    """40 of 400 images, lost in all their forms, are 10 ± 2.9 points; ± 0.8 if each form counted as an image."""
    names = [f"kind {number}" for number in range(COUNT)]
    right = np.ones(400, dtype=bool)
    worse = right.copy()
    worse[:lost] = False
    new = score_of(corrupted_correct={name: worse for name in names})
    old = score_of(corrupted_correct={name: right for name in names})
    assert rules.judge_robustness(new, old, CONFIG).outcome == "not applicable"
    found = rules.judge_robustness(new, old, GateConfig(robustness=True))
    assert found.outcome == outcome
    assert found.numbers["challenger"] - found.numbers["champion"] == pytest.approx(-lost / 400)
    assert found.numbers["high"] == pytest.approx((-lost + 1.96 * np.sqrt(lost * (1 - lost / 400))) / 400, abs=0.003)
