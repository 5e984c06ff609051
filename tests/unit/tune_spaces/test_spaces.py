"""The search spaces: every draw is a valid trial, and is the same trial in any process."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from tests.deadline import DEADLINE
from tests.unit.vit.data.sample_data import pet_folder
from tune_spaces.catalogue import SPACES, space_for
from tune_spaces.space import Space, draw_trials, patch_sizes
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.data.dataset import DataConfig, load_dataset
from vit.model.config import ViTConfig
from vit.model.vision_transformer import count_parameters
from vit.training.recipes import Recipe, fast30, fast30_conv

ROOT = Path(__file__).parents[3]
SIZES = [8, 28, 32, 64, 96, 224]
PRIMES = [7, 13, 31, 37, 97]
EPOCHS = 12

spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
sizes = pytest.mark.parametrize("size", SIZES + PRIMES)


def shape(size: int, in_chans: int = 3) -> DataShape:
    return DataShape(size, in_chans, num_classes=7, mirror_safe=size >= 32)


def draw(space: Space, size: int = 32, count: int = 20, seed: int = 0) -> list[TrialSpec]:
    return draw_trials(space, shape(size), count, EPOCHS, seed)


@spaces
@sizes
def test_every_draw_is_a_valid_trial(space: Space, size: int) -> None:
    trials = draw(space, size, count=200)
    assert [trial.index for trial in trials] == list(range(200))
    for trial in trials:  # the rest was checked when they were built, since models and recipes refuse invalid values
        model = trial.model
        assert (model.img_size, model.in_chans, model.num_classes) == (size, 3, 7)
        assert size % model.patch_size == 0
        assert trial.recipe.epochs == EPOCHS
        assert trial.recipe.flip == (size >= 32)
        assert trial.recipe.crop_padding < size
        assert 0 <= trial.seed < 2**31
    assert len({trial.seed for trial in trials}) == 200


@spaces
def test_no_trial_mirrors_a_folder_that_must_not_be_mirrored(space: Space, tmp_path: Path) -> None:
    data = load_dataset(DataConfig(str(pet_folder(tmp_path)), img_size=32, mirror=False))
    trials = draw_trials(space, data.shape, 100, EPOCHS, seed=0)
    assert not any(trial.recipe.flip or trial.recipe.flip_alternates for trial in trials)


shape_spaces = pytest.mark.parametrize("space", [SPACES["small"], SPACES["natural"]], ids=["small", "natural"])
"""The spaces that search the shape of the model as well."""


@shape_spaces
def test_a_token_is_heads_times_head_width_wide(space: Space) -> None:
    domains = space.domains(shape(32))
    widths = set(domains["head_width"].categories)  # type: ignore[attr-defined]
    drawn = {trial.model.embed_dim / trial.model.num_heads for trial in draw(space, count=200)[2:]}
    assert drawn == widths


@shape_spaces
@pytest.mark.parametrize("size", SIZES)
def test_the_number_of_patches_is_bounded(space: Space, size: int) -> None:
    patches = {trial.model.num_patches for trial in draw(space, size, count=200)[2:]}
    fewest, most = {"small": (4, 64), "natural": (16, 200)}[space.name]
    assert fewest <= min(patches) <= max(patches) <= most


@spaces
def test_every_value_of_every_choice_is_drawn(space: Space) -> None:
    trials = draw(space, count=200)[2:]
    for name, domain in space.domains(shape(32)).items():
        values = {trial.params.get(name) for trial in trials}
        if hasattr(domain, "categories") and name != "head_width":
            assert values == set(domain.categories), name
        elif name != "head_width":
            lower, upper = domain.lower, domain.upper  # type: ignore[attr-defined]
            assert all(lower <= value <= upper for value in values), name
            assert len(values) > 2, name


@spaces
def test_the_learning_rate_is_drawn_evenly_by_its_logarithm(space: Space) -> None:
    domain = space.domains(shape(32))["learning_rate"]
    middle = (domain.lower * domain.upper) ** 0.5  # type: ignore[attr-defined]
    rates = [trial.recipe.learning_rate for trial in draw(space, count=400)[2:]]
    below = sum(rate < middle for rate in rates) / len(rates)
    assert 0.4 < below < 0.6


def test_another_process_draws_the_same_trials() -> None:
    program = (
        "import json; from tune_spaces.catalogue import SPACES; from tune_spaces.space import draw_trials\n"
        "from vit.data.arrays import DataShape\n"
        f"drawn = {{name: draw_trials(space, {shape(32)!r}, 8, {EPOCHS}, 5) for name, space in SPACES.items()}}\n"
        "print(json.dumps({name: [trial.to_dict() for trial in trials] for name, trials in drawn.items()}))"
    )
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    drawn = {
        name: [TrialSpec.from_dict(values) for values in trials] for name, trials in json.loads(done.stdout).items()
    }
    assert drawn == {name: draw(space, count=8, seed=5) for name, space in SPACES.items()}


@spaces
def test_a_longer_list_begins_with_the_shorter_one(space: Space) -> None:
    longer = draw(space, count=40)
    for count in (1, 2, 17):
        assert draw(space, count=count) == longer[:count]


@spaces
def test_another_seed_draws_other_trials(space: Space) -> None:
    trials, others = draw(space), draw(space, seed=1)
    for trial, other in zip(trials[2:], others[2:], strict=True):
        assert asdict(trial.model) | asdict(trial.recipe) != asdict(other.model) | asdict(other.recipe)
    assert not {trial.seed for trial in trials} & {other.seed for other in others}


@spaces
def test_trials_of_one_sweep_differ(space: Space) -> None:
    drawn = {(trial.model, trial.recipe) for trial in draw(space, count=200)}
    assert len(drawn) == 200


@spaces
@pytest.mark.parametrize(
    ("size", "patch_size"), [(8, 4), (28, 4), (32, 4), (64, 8), (96, 12), (224, 28), (31, 1), (13, 13)]
)
def test_trial_0_is_the_published_configuration_fitted_to_the_images(space: Space, size: int, patch_size: int) -> None:
    trial = draw_trials(space, shape(size, in_chans=1), 1, EPOCHS, seed=3)[0]
    assert trial.model == ViTConfig(
        img_size=size, patch_size=patch_size, in_chans=1, num_classes=7, embed_dim=192, depth=6, num_heads=3
    )
    flip = size >= 32
    assert trial.recipe == Recipe(
        epochs=EPOCHS, batch_size=128, learning_rate=1e-3, weight_decay=0.01, flip=flip, rotation=15.0
    )


@pytest.mark.parametrize(("name", "recipe", "cutmix"), [("natural", fast30_conv, 0.0), ("recipe", fast30, 0.5)])
@pytest.mark.parametrize("size", SIZES)
def test_trial_1_is_the_best_known_recipe(name: str, recipe: Any, cutmix: float, size: int) -> None:
    trial = draw(SPACES[name], size)[1]
    model, expected = recipe(shape(size))
    assert (trial.model, trial.recipe) == (model, replace(expected, epochs=EPOCHS, cutmix=cutmix))


def test_the_recipe_space_has_one_shape() -> None:
    assert len({trial.model for trial in draw(SPACES["recipe"])[1:]}) == 1


def test_a_field_that_nothing_has_is_refused_by_name() -> None:
    space = Space("wrong", 3, lambda shape: {"learningrate": tune.uniform(0, 1)})
    with pytest.raises(ValueError, match=r"^'learningrate' is neither a field of a model or a recipe nor head_width$"):
        draw(space)


def test_trial_0_on_cifar_is_the_published_model() -> None:
    [trial] = draw_trials(SPACES["natural"], DataShape(32, 3, 10, True), 1, 30, seed=0)
    assert (trial.model, trial.recipe) == (ViTConfig(), Recipe())
    block = 2 * 384 + (192 * 576 + 576) + (192 * 192 + 192) + (192 * 768 + 768) + (768 * 192 + 192)
    patches, positions, head = 48 * 192 + 192, 65 * 192, 192 * 10 + 10
    assert count_parameters(trial.model) == patches + 192 + positions + 6 * block + 384 + head == 2_693_578


@pytest.mark.parametrize(
    ("size", "name"), [(8, "small"), (28, "small"), (31, "small"), (32, "natural"), (224, "natural")]
)
def test_the_space_follows_the_image_size(size: int, name: str) -> None:
    assert space_for(size) is SPACES[name]


@pytest.mark.parametrize(
    ("size", "fewest", "most", "expected"),
    [
        (8, 4, 64, [1, 2, 4]),
        (28, 4, 64, [4, 7, 14]),
        (32, 16, 200, [4, 8]),
        (224, 16, 200, [16, 28, 32, 56]),
        (31, 4, 64, []),
    ],
)
def test_patch_sizes(size: int, fewest: int, most: int, expected: list[int]) -> None:
    assert patch_sizes(size, fewest, most) == expected


@spaces
def test_a_trial_survives_json(space: Space) -> None:
    for trial in draw(space, count=50):
        assert TrialSpec.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@spaces
def test_params_name_every_field_once(space: Space) -> None:
    trial = draw(space, count=2)[1]
    assert trial.params == {**asdict(trial.model), **asdict(trial.recipe), "seed": trial.seed}
    assert len(trial.params) == len(asdict(trial.model)) + len(asdict(trial.recipe)) + 1
