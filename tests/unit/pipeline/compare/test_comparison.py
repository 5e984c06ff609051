"""Tests the comparison of several models against statsmodels and against results worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from pipeline.compare.comparison import Figure, compare
from pipeline.compare.evidence import Evidence
from pipeline.trials.predictions import Predictions

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])


def _predictions(predicted: list[int]) -> Predictions:
    chances = np.full(len(LABELS), 0.9)
    return Predictions(LABELS, np.array(predicted), chances, chances)


FIRST = Evidence(
    name="a",
    run_id="1",
    run_name="trial-01",
    kind="finalist",
    ended="finished",
    settings={"depth": "2", "learning_rate": "0.1", "seed": "3"},
    metrics={"best/val_accuracy": 0.8, "test/accuracy": 0.5, "test/loss": 1.5},
    data_digest="sha256:images",
    class_names=("cat", "dog"),
    confusion=np.array([[3, 1], [1, 5]]),
    test=_predictions([0, 1, 1, 1, 1, 1, 0, 0, 0, 1]),
    test_digest="sha256:test",
)
SECOND = replace(
    FIRST,
    name="b",
    settings={"depth": "4", "learning_rate": "0.1", "head_width": "8", "seed": "3"},
    confusion=np.array([[4, 0], [2, 4]]),
    test=_predictions([0, 0, 1, 1, 1, 1, 1, 1, 1, 0]),
)


def test_settings_that_are_the_same_for_all_are_left_out() -> None:
    assert compare([FIRST, SECOND]).settings == {"depth": ("2", "4"), "head_width": (None, "8")}
    other = replace(FIRST, data_digest="sha256:others")
    assert compare([FIRST, other]).settings == {"images (digest)": ("sha256:images", "sha256:others")}


def test_accuracies_have_wilsons_interval_of_their_images() -> None:
    metrics = compare([FIRST, SECOND]).metrics
    for row, counts in (("validation accuracy", ((8, 10), (8, 10))), ("test accuracy", ((5, 10), (8, 10)))):
        for figure, (correct, total) in zip(metrics[row], counts, strict=True):
            assert figure is not None
            assert figure.interval is not None
            low, high = proportion_confint(correct, total, method="wilson")
            assert (figure.value, figure.images) == (correct / total, total)
            assert (figure.interval.low, figure.interval.high) == pytest.approx((low, high))
    assert metrics["test loss"] == (Figure(1.5), Figure(1.5))


def test_a_figure_that_only_some_have_is_none_for_the_others() -> None:
    untested = replace(FIRST, test=None, metrics={"best/val_accuracy": 0.8})
    metrics = compare([untested, SECOND]).metrics
    assert metrics["test accuracy"][0] is None
    assert metrics["test loss"] == (None, Figure(1.5))
    assert "test accuracy with mirror images" not in metrics


def test_classes_are_of_the_test_images_where_all_were_measured_on_the_same() -> None:
    classes = compare([FIRST, SECOND]).classes
    assert classes is not None
    shares = {name: [figure and (figure.value, figure.images) for figure in row] for name, row in classes.rows.items()}
    assert (classes.split, shares) == (
        "test",
        {"cat": [(1 / 3, 3), (2 / 3, 3)], "dog": [(pytest.approx(4 / 7), 7), (pytest.approx(6 / 7), 7)]},
    )


def test_else_classes_are_of_validation_with_a_word_on_other_images() -> None:
    untested = replace(FIRST, test=None)
    comparison = compare([untested, SECOND])
    assert comparison.classes is not None
    rows = {name: [figure and figure.value for figure in row] for name, row in comparison.classes.rows.items()}
    assert (comparison.classes.split, rows) == ("validation", {"cat": [0.75, 1.0], "dog": [5 / 6, 4 / 6]})
    assert comparison.notes == ()
    (note,) = compare([untested, replace(SECOND, data_digest="sha256:others")]).notes
    assert "the validation images are not the same for all models" in note


@pytest.mark.parametrize(
    ("second", "note"),
    [
        (replace(SECOND, class_names=("cat", "cow")), "the models do not know the same classes"),
        (replace(SECOND, class_names=None), "no weights are recorded of b"),
        (replace(SECOND, test=None, confusion=None), "not all models have figures of the same images"),
    ],
)
def test_classes_that_cannot_be_set_side_by_side_are_left_out(second: Evidence, note: str) -> None:
    comparison = compare([FIRST, second])
    assert comparison.classes is None
    assert note in comparison.notes[0]


def test_the_first_is_tested_against_each_other_on_the_same_images() -> None:
    one, two = compare([FIRST, SECOND, FIRST]).pairs
    assert one.paired is not None
    assert (one.first, one.second, one.paired.only_first, one.paired.only_second) == ("a", "b", 1, 4)
    assert one.paired.p_value == pytest.approx(mcnemar([[4, 1], [4, 1]], exact=True).pvalue)
    assert one.paired.difference == pytest.approx(0.3)
    assert one.paired.interval.low <= 0.3 <= one.paired.interval.high
    assert two.paired is not None
    assert (two.paired.difference, two.paired.p_value) == (0, 1)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (replace(SECOND, test=None, metrics={}), "b was not measured on test images"),
        (replace(SECOND, test=None), "what b said of each test image is not kept"),
        (replace(SECOND, test_digest=None), "it is not known on which test images b was measured"),
        (replace(SECOND, test_digest="sha256:x"), "they were measured on different test images (sha256:test, sha256:x"),
    ],
)
def test_where_there_is_no_test_it_says_why(second: Evidence, reason: str) -> None:
    (pair,) = compare([FIRST, second]).pairs
    assert (pair.paired, pair.reason[: len(reason)]) == (None, reason)
