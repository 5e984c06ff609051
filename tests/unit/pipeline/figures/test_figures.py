"""The figures: what they write, what they say in words, and what they must not import."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.boxes import FILLS, Box, StageOutcome
from pipeline.figures.canvas import BLUE, GREEN, HEIGHT, RED, WIDTH
from pipeline.figures.graph_figure import draw_graph
from pipeline.figures.importance_figure import draw_importance
from pipeline.figures.ladder_figure import draw_ladder
from pipeline.figures.leaderboard_figure import OUTCOME_STYLES, draw_leaderboard
from pipeline.figures.trial_figures import draw_class_accuracy, draw_confusion_matrix, draw_curves, largest_confusion
from pipeline.trials.rungs import Decision

LARGEST_FILE = 300_000
"""Bytes: three figures for each of dozens of trials go to the tracking server."""
ANIMALS = ["bird", "cat", "dog"]
PAPER = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Draws into a file and gives the pixels (HEIGHT, WIDTH, 3), the file being a PNG of the right size."""

    def run(function: Callable[..., None], *arguments: object, **options: object) -> np.ndarray:
        path = tmp_path / "figure.png"
        function(str(path), "a title", *arguments, **options)
        assert path.stat().st_size < LARGEST_FILE
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
            return np.asarray(image.convert("RGB"))

    return run


def ink(pixels: np.ndarray, color: str) -> int:
    """How many pixels have exactly this colour ("#RRGGBB")."""
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return int((pixels == wanted).all(axis=2).sum())


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
        # Below the legend, which would show both colours in any case.
        assert ink(panel[100:], BLUE) > 0, "no training curve"
        assert ink(panel[100:], "#D55E00") > 0, "no validation curve"


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
    # No bar of length 0 either: it says n/a, not 0.0%.
    assert (nothing != draw(draw_class_accuracy, ANIMALS, [0.0, 0.0, 0.0])).any()


@pytest.mark.parametrize("count", [21, 100, 1000])
def test_many_classes_become_one_sorted_shape(draw: Callable[..., np.ndarray], count: int) -> None:
    names = [f"class number {index} of very many" for index in range(count)]
    rising: list[float | None] = [index / count for index in range(count)]
    pixels = draw(draw_class_accuracy, names, rising)
    assert ink(pixels, BLUE) > 10_000
    # The same pairs the other way round: the same figure.
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

    # The colours are shares: only the numbers in the cells tell one image from ten.
    assert difference(20) > 0
    assert difference(21) == 0


def test_the_matrix_has_no_colour_for_a_class_without_images(draw: Callable[..., np.ndarray]) -> None:
    confusion = np.array([[0, 0], [0, 5]])
    with np.errstate(all="raise"):
        pixels = draw(draw_confusion_matrix, ["empty", "full"], confusion)
    assert (pixels != PAPER).any()


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


def board(accuracies: list[float | None], baseline_index: int = 0) -> tuple[object, ...]:
    count = len(accuracies)
    outcomes = [list(OUTCOME_STYLES)[index % len(OUTCOME_STYLES)] for index in range(count)]
    names = [f"trial {index}" for index in range(count)]
    return names, accuracies, [100_000 * (index + 1) for index in range(count)], outcomes, baseline_index


def test_leaderboard_shows_each_outcome_in_its_colour(draw: Callable[..., np.ndarray]) -> None:
    shown = draw(draw_leaderboard, *board([0.5, 0.6, 0.4, 0.3, 0.2]))[: HEIGHT - 60]
    hidden = draw(draw_leaderboard, *board([None, None, None, None, None]))[: HEIGHT - 60]
    assert (hidden != shown).any()
    # Marks are a little transparent, so their colour is not quite the palette's.
    for color, _ in OUTCOME_STYLES.values():
        wanted = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])
        mixed = np.round(0.8 * wanted + 0.2 * 255)
        assert (np.abs(shown - mixed).max(axis=2) <= 3).sum() > 10, color


@pytest.mark.parametrize(
    ("accuracies", "baseline_index"),
    [([0.5], 0), ([None, 0.4], 0), ([0.4, 0.5], 1), ([0.5, 0.5, 0.5], 2), ([0.1 + i / 500 for i in range(200)], 7)],
)
def test_leaderboard_of_one_equal_unscored_and_many_trials(
    draw: Callable[..., np.ndarray], accuracies: list[float | None], baseline_index: int
) -> None:
    pixels = draw(draw_leaderboard, *board(accuracies, baseline_index))
    baseline_line = ink(pixels, "#009E73")  # no outcome has this green
    assert (baseline_line > 0) == (accuracies[baseline_index] is not None)


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


def stages(*outcomes: StageOutcome | None) -> list[Box]:
    """A chain, the last of which reads all before it."""
    names = [f"stage{number}" for number in range(len(outcomes))]
    inputs = [tuple(names[max(position - 1, 0) : position]) for position in range(len(names) - 1)]
    return [
        Box(name, before, outcome, "42 s")
        for name, before, outcome in zip(names, [*inputs, tuple(names[:-1])], outcomes, strict=True)
    ]


def test_the_graph_shows_each_outcome_in_its_colour(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_graph, stages("run", "cached", "run", "cached"))[:-60]
    for outcome in get_args(StageOutcome):
        assert ink(pixels, FILLS[outcome]) > 1000, outcome
    bare = draw(draw_graph, stages(None, None, None, None))
    # The greys of a line's soft edge may hit one of them.
    assert sum(ink(bare, fill) for outcome, fill in FILLS.items() if outcome) < 100


@pytest.mark.parametrize("count", [1, 3, 24])
def test_a_graph_of_one_and_of_many_stages(draw: Callable[..., np.ndarray], count: int) -> None:
    outcomes: list[StageOutcome] = ["run"] * count
    assert ink(draw(draw_graph, stages(*outcomes))[:-60], FILLS["run"]) > 1000


def ladder(count: int) -> tuple[dict[int, list[Decision]], dict[int, float]]:
    """Of `count` trials every third goes on, at the epochs 3 and 9; the full length is 27."""
    made: dict[int, list[Decision]] = {}
    alive = list(range(count))
    for epoch in (3, 9):
        for position, trial in enumerate(alive, start=1):
            go_on, cutoff = trial % 3 ** (2 if epoch == 9 else 1) == 0, None if position == 1 else 0.5
            decision = Decision(epoch, 0.3 + 0.4 * go_on + epoch / 90, cutoff, rank=1, of=position, go_on=go_on)
            made.setdefault(trial, []).append(decision)
        alive = [trial for trial in alive if made[trial][-1].go_on]
    return made, {trial: 0.9 + trial / 100 / count for trial in alive}


@pytest.mark.parametrize("count", [1, 3, 32, 1000])
def test_the_ladder_shows_the_winner_and_the_published(draw: Callable[..., np.ndarray], count: int) -> None:
    decisions, finals = ladder(count)
    winner = max(finals, key=lambda trial: finals[trial])
    pixels = draw(draw_ladder, decisions, finals, 27, winner)
    assert ink(pixels, RED) > 100
    # Where the published configuration won there is one line for both.
    assert (ink(pixels, GREEN) > 100) == (winner != 0)


def test_the_ladder_marks_who_went_on_and_where_the_cutoff_was(draw: Callable[..., np.ndarray]) -> None:
    decisions, finals = ladder(9)
    stopped = {trial: [replace(one, go_on=False) for one in made] for trial, made in decisions.items()}
    uncut = {trial: [replace(one, cutoff=None) for one in made] for trial, made in decisions.items()}
    pixels, hollow, bare = (draw(draw_ladder, made, finals, 27, 0)[60:-80] for made in (decisions, stopped, uncut))
    assert ink(hollow, RED) < ink(pixels, RED)
    assert ink(bare, "#333333") < ink(pixels, "#333333")


def test_a_ladder_without_rungs(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_ladder, {0: [], 1: []}, {0: 0.5, 1: 0.6}, 1, winner=1)
    assert ink(pixels, RED) > 0


def test_importance_bars_are_as_long_as_the_share(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_importance, {"stem": 0.2, "depth": 0.8}, "of 32 trials")
    upper, lower = ink(pixels[: HEIGHT // 2], BLUE), ink(pixels[HEIGHT // 2 :], BLUE)
    assert lower == pytest.approx(upper / 4, rel=0.05)


@pytest.mark.parametrize("count", [1, 25])
def test_importance_of_one_and_of_many(draw: Callable[..., np.ndarray], count: int) -> None:
    assert ink(draw(draw_importance, {f"$parameter {n}$": 1 / count for n in range(count)}, ""), BLUE) > 1000
