"""Tests the figures of a training: what they show, what they say in words, and what they must not import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.figures.canvas import BLUE, RED, WIDTH
from pipeline.figures.trial_figures import draw_class_accuracy, draw_confusion_matrix, draw_curves, largest_confusion
from tests.unit.pipeline.figures.pixels import ink

ANIMALS = ["bird", "cat", "dog"]


def curves(count: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": number,
            "train/loss": 2.0 / number,
            "val/loss": 2.2 / number,
            "train/accuracy": 1 - 0.8 / number,
            "val/accuracy": 0.9 - 0.8 / number,
        }
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 100])
def test_curves_show_both_splits(draw: Callable[..., np.ndarray], count: int) -> None:
    pixels = draw(draw_curves, curves(count), best_epoch=count)
    for panel in (pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :]):
        # Only the part below the legend, which shows both colours in any case.
        assert ink(panel[100:], BLUE) > 0, "no training curve"
        assert ink(panel[100:], RED) > 0, "no validation curve"


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("count", [2, 100])
def test_the_curve_of_each_split_follows_its_values(draw: Callable[..., np.ndarray], count: int, split: str) -> None:
    *others, best = curves(count)  # the best epoch keeps its values, so that its star stays where it is
    names = (f"{split}/loss", f"{split}/accuracy")
    lower = [{**epoch, **{name: 0.9 * epoch[name] for name in names}} for epoch in others]
    before, after = (draw(draw_curves, [*each, best], best_epoch=count) for each in (others, lower))
    for panel in (slice(None, WIDTH // 2), slice(WIDTH // 2, None)):
        assert (before[:, panel] != after[:, panel]).any()


def test_curves_skip_values_that_are_not_finite(draw: Callable[..., np.ndarray]) -> None:
    epochs = curves(5)
    epochs[-1].update({"train/loss": float("nan"), "val/loss": float("inf")})
    pixels = draw(draw_curves, epochs, best_epoch=4)
    assert ink(pixels[100:, : WIDTH // 2], BLUE) > 10


def test_curves_mark_the_best_epoch(draw: Callable[..., np.ndarray]) -> None:
    first, last = (draw(draw_curves, curves(9), best_epoch=best) for best in (1, 9))
    assert (first[100:] != last[100:]).any()


def test_the_best_epoch_must_be_one_of_them(draw: Callable[..., np.ndarray]) -> None:
    with pytest.raises(StopIteration):
        draw(draw_curves, curves(3), best_epoch=4)


def test_class_bars_are_as_long_as_the_accuracy(draw: Callable[..., np.ndarray]) -> None:
    long = ink(draw(draw_class_accuracy, ANIMALS, [1.0, 1.0, 1.0]), BLUE)
    short = ink(draw(draw_class_accuracy, ANIMALS, [0.5, 0.5, 0.5]), BLUE)
    assert short == pytest.approx(long / 2, rel=0.05)


def test_a_class_without_images_has_no_bar(draw: Callable[..., np.ndarray]) -> None:
    all_known = draw(draw_class_accuracy, ANIMALS, [0.8, 0.8, 0.8])
    one_missing = draw(draw_class_accuracy, ANIMALS, [0.8, None, 0.8])
    assert ink(one_missing, BLUE) == pytest.approx(ink(all_known, BLUE) * 2 / 3, rel=0.02)
    nothing = draw(draw_class_accuracy, ANIMALS, [None, None, None])
    assert ink(nothing, BLUE) == 0
    # Nor does it have a bar of length 0: the figure says n/a, not 0.0%.
    assert (nothing != draw(draw_class_accuracy, ANIMALS, [0.0, 0.0, 0.0])).any()


@pytest.mark.parametrize("count", [21, 100, 1000])
def test_many_classes_become_one_sorted_shape(draw: Callable[..., np.ndarray], count: int) -> None:
    names = [f"class number {index} of very many" for index in range(count)]
    rising: list[float | None] = [index / count for index in range(count)]
    pixels = draw(draw_class_accuracy, names, rising)
    assert ink(pixels, BLUE) > 10_000
    # The same pairs in reverse order give the same figure.
    assert (pixels == draw(draw_class_accuracy, names[::-1], rising[::-1])).all()


def test_many_classes_without_images(draw: Callable[..., np.ndarray]) -> None:
    names = [str(index) for index in range(30)]
    assert ink(draw(draw_class_accuracy, names, [None] * 30), BLUE) == 0
    assert ink(draw(draw_class_accuracy, names, [None] * 29 + [0.5]), BLUE) > 10_000


@pytest.mark.parametrize("count", [2, 10, 20, 21, 100, 1000])
def test_the_matrix_is_drawn_for_few_and_many_classes(draw: Callable[..., np.ndarray], count: int) -> None:
    names = [f"class number {index}" for index in range(count)]
    right = draw(draw_confusion_matrix, names, np.eye(count, dtype=np.int64) * 50)
    wrong = draw(draw_confusion_matrix, names, np.roll(np.eye(count, dtype=np.int64) * 50, 1, axis=1))
    assert (right != wrong).any()


def test_the_matrix_has_counts_up_to_20_classes_only(draw: Callable[..., np.ndarray]) -> None:
    def difference(count: int) -> int:
        names = ["a"] * count
        ones, tens = (draw(draw_confusion_matrix, names, np.eye(count, dtype=np.int64) * n) for n in (1, 10))
        return int((ones != tens).sum())

    # The colours show shares: only the numbers in the cells tell one image from ten.
    assert difference(20) > 0
    assert difference(21) == 0


def test_the_matrix_has_no_colour_for_a_class_without_images(draw: Callable[..., np.ndarray]) -> None:
    no_share = "#F7FBFF"  # of a cell without images in the row of a class that has some
    with np.errstate(all="raise"):
        pixels = draw(draw_confusion_matrix, ["empty", "full"], np.array([[0, 0], [0, 5]]))
    both_full = draw(draw_confusion_matrix, ["full", "full"], np.array([[5, 0], [0, 5]]))
    assert ink(pixels, no_share) == pytest.approx(ink(both_full, no_share) / 2, rel=0.05)


def test_largest_confusion_in_words() -> None:
    #                      bird cat dog
    confusion = np.array([[90, 6, 4], [10, 55, 35], [2, 30, 168]])
    assert largest_confusion(ANIMALS, confusion) == "most often: cat taken for dog (35 of 100, 35.0%)"


def test_the_larger_share_wins_between_equal_confusions() -> None:
    confusion = np.array([[90, 10, 0], [0, 10, 10], [0, 0, 50]])
    assert largest_confusion(ANIMALS, confusion) == "most often: cat taken for dog (10 of 20, 50.0%)"


def test_no_confusion_in_words() -> None:
    assert largest_confusion(ANIMALS, np.diag([3, 4, 5])) == "no image taken for another class"
    assert largest_confusion(ANIMALS, np.zeros((3, 3), np.int64)) == "no images"


def test_dollars_in_names_are_no_formula(draw: Callable[..., np.ndarray]) -> None:
    names = ["$ _{ broken $", "5$", "a$b^$"]
    confusion = np.array([[1, 2, 0], [3, 4, 0], [0, 0, 1]])
    draw(draw_class_accuracy, names, [0.1, 0.9, None])
    pixels = draw(draw_confusion_matrix, names, confusion)
    assert (pixels != draw(draw_confusion_matrix, ["", "", ""], confusion)).any()


def test_importing_the_figures_stays_light() -> None:
    code = (
        "import sys, pipeline.figures.trial_figures\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'pyarrow', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert 'matplotlib.figure' in sys.modules\n"
        "print(sorted(heavy))"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
