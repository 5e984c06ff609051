"""A space in the user's own file is used, or is refused with one line that names the file."""

from pathlib import Path

import pytest

from tune_spaces.space import draw_trials
from tune_spaces.user_space import SpaceError, load_space
from vit.data.arrays import DataShape

SHAPE = DataShape(8, 1, 10, mirror_safe=False)
GOOD = """
from ray import tune
from tune_spaces.space import Space

SPACE = Space(name="mine", max_epochs=3, domains=lambda shape: {"depth": tune.choice([1, 2])})
"""


def test_its_trials_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "my_space.py"
    path.write_text(GOOD)
    space = load_space(str(path), SHAPE, trials=20, seed=0)
    assert space.name == "mine"
    assert {trial.model.depth for trial in draw_trials(space, SHAPE, 20, 3, seed=0)[1:]} == {1, 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SPACE = 1", "has no SPACE, which must be a tune_spaces.space.Space"),
        ("", "has no SPACE, which must be a tune_spaces.space.Space"),
        ("def broken(:", "cannot be run: SyntaxError: "),
        ("import no_such_module", "cannot be run: ModuleNotFoundError: No module named 'no_such_module'"),
        (GOOD.replace("depth", "deepness"), "draws a trial that cannot be trained: 'deepness' is neither a field"),
        (
            GOOD.replace("tune.choice([1, 2])", "tune.uniform(1.1, 1.9)"),
            "draws a trial that cannot be trained: depth is 1.",
        ),
        (
            GOOD.replace('"depth": tune.choice([1, 2])', '"batch_size": tune.quniform(32, 128, 32)'),
            "draws a trial that cannot be trained: batch_size is ",
        ),
        (GOOD.replace("[1, 2]", "[0]"), "draws a trial that cannot be trained: depth is 0, but must be at least 1"),
        (
            GOOD.replace('"depth": tune.choice([1, 2])', '"flip": tune.choice([True])'),
            "draws a trial that cannot be trained: flip is True, but must be False for these images",
        ),
        (GOOD.replace("tune.choice", "max"), "draws a trial that cannot be trained: "),
    ],
)
def test_a_mistake_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my_space.py"
    path.write_text(text)
    with pytest.raises(SpaceError) as error:
        load_space(str(path), SHAPE, trials=20, seed=0)
    assert str(error.value).startswith(f"{path} {message}")
    assert len(str(error.value).splitlines()) == 1


def test_the_trials_that_are_tried_are_those_of_the_sweep(tmp_path: Path) -> None:
    """This space rarely draws a value that cannot be trained, so a few draws with another seed would find none."""
    path = tmp_path / "my_space.py"
    path.write_text(GOOD.replace('"depth": tune.choice([1, 2])', '"label_smoothing": tune.randn(0.1, 0.05)'))
    refused_with = []
    for seed in range(10):
        try:
            draw_trials(load_space(str(path), SHAPE, trials=40, seed=seed), SHAPE, 40, 3, seed)
        except SpaceError as error:
            refused_with.append((seed, str(error)))
    assert 0 < len(refused_with) < 10
    assert all("draws a trial that cannot be trained: label_smoothing is -0.0" in text for _, text in refused_with)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"mine\.py is not a file$"):
        load_space(str(tmp_path / "mine.py"), SHAPE, trials=20, seed=0)
