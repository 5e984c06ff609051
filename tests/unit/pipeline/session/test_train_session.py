"""Tests of what a training command trains: a recipe by name, some of whose settings the user may replace."""

import re

import pytest

from pipeline.config import TrainConfig, WorkerRange
from pipeline.errors import UsageError
from pipeline.session.train_session import TrainSession
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.training.recipes import RECIPES


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataConfig("digits", train_limit=100))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_the_images(name: str, digits: Dataset) -> None:
    spec = TrainSession.spec_of(TrainConfig(recipe=name, seed=3), digits)
    assert (spec.model.img_size, spec.model.in_chans, spec.model.num_classes) == (8, 1, 10)
    assert spec.seed == 3
    assert not spec.recipe.flip


def test_no_worker_is_without_images(digits: Dataset) -> None:
    for batch, most in ((32, 32), (128, 100)):
        settings = (f"batch_size={batch}",)
        TrainSession.identity(TrainConfig(settings=settings, workers=WorkerRange(1, most)), digits)
        with pytest.raises(UsageError, match=f"^--workers is {most + 1}, but must be at most the {most} images"):
            TrainSession.identity(TrainConfig(settings=settings, workers=WorkerRange(1, most + 1)), digits)


def test_settings_change_the_recipe_and_the_flag_its_length(digits: Dataset) -> None:
    spec = TrainSession.spec_of(TrainConfig(recipe="seed", epochs=4, settings=("depth=2", "weight_decay=0.5")), digits)
    assert (spec.model.depth, spec.recipe.weight_decay, spec.recipe.epochs) == (2, 0.5, 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(recipe="best"), "--recipe is 'best', but must be one of fast30, fast30-conv, long, seed, two"),
        (TrainConfig(settings=("depth=x",)), "--set: depth is 'x', but must be a whole number"),
        (TrainConfig(settings=("num_classes=11",)), "--set: num_classes is 11, but must be the images' 10"),
        (
            TrainConfig(settings=("flip=true",)),
            "--set: flip is True, but must be False for these images: a mirror image may be of another class",
        ),
    ],
)
def test_what_does_not_fit_is_refused(config: TrainConfig, message: str, digits: Dataset) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        TrainSession.spec_of(config, digits)
