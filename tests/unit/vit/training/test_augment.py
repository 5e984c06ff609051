"""Augmentation compared with torchvision, image by image, and normalisation compared with torchvision and numpy."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor

from vit.data.normalisation import Normalisation, measure_normalisation
from vit.training.augment import Draws, augment, draw
from vit.training.recipes import Recipe

EVERYTHING = Recipe(flip=True, rotation=180.0, crop_padding=3, cutout=5, cutmix=0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, size: int, channels: int) -> Tensor:
    # The values begin at 1, so that black comes only from outside the image.
    return torch.randint(1, 256, (count, size, size, channels), generator=seeded(), dtype=torch.uint8)


def by_torchvision(image: Tensor, draws: Draws, index: int, padding: int) -> Tensor:
    chw: Tensor = image.permute(2, 0, 1)
    if draws.flip[index]:
        chw = tv.horizontal_flip(chw)
    chw = tv.rotate(chw, math.degrees(draws.angle[index].item()))
    down, right = draws.shift[index].tolist()
    chw = tv.crop(tv.pad(chw, [padding] * 4), padding + down, padding + right, *chw.shape[1:])
    top, left, side = draws.hole[index].tolist()
    bottom, right = max(top + side, 0), max(left + side, 0)
    top, left = max(top, 0), max(left, 0)
    chw = tv.erase(chw, top, left, bottom - top, right - left, torch.zeros(1, 1, 1, dtype=torch.uint8))
    return chw.permute(1, 2, 0)


def draws_of(count: int, flip: bool = False, angle: float = 0.0, shift: tuple[int, int] = (0, 0)) -> Draws:
    nothing = torch.zeros(count, 4, dtype=torch.int64)
    shifts = torch.tensor([shift]).repeat(count, 1)
    return Draws(torch.full((count,), flip), torch.full((count,), angle), shifts, nothing[:, :3], nothing)


def test_no_images_stay_none() -> None:
    """Where a batch has fewer images than there are workers, a worker's part of it is empty."""
    nothing = random_images(4, 8, 3)[2:2]
    assert augment(nothing, draws_of(0)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 13, 32])
@pytest.mark.parametrize(
    "recipe",
    [
        EVERYTHING,
        Recipe(flip=True, rotation=0.0),
        Recipe(flip=False, rotation=180.0),
        Recipe(flip=False, rotation=0.0, crop_padding=5),
        Recipe(flip=False, rotation=0.0, cutout=4),
    ],
    ids=["everything", "flip", "rotation", "crop", "cutout"],
)
def test_every_image_equals_torchvisions(recipe: Recipe, size: int, channels: int) -> None:
    images = random_images(200, size, channels)
    draws = draw(len(images), size, recipe, seeded())
    expected = torch.stack([by_torchvision(image, draws, i, recipe.crop_padding) for i, image in enumerate(images)])
    different = (augment(images, draws) != expected).any(dim=-1)
    # A pixel halfway between two source pixels may take either, by the last bit of a float: here that is one in 10^5.
    assert int(different.sum()) <= (1e-5 * different.numel() if recipe.rotation else 0)


@pytest.mark.parametrize("size", [8, 13])
@pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
def test_quarter_turns_are_exact_and_counter_clockwise(size: int, quarters: int) -> None:
    images = random_images(5, size, 3)
    turned = augment(images, draws_of(5, angle=quarters * math.pi / 2))
    assert torch.equal(turned, images.rot90(quarters, dims=(1, 2)))


def test_without_draws_images_stay_and_the_input_is_not_written_to() -> None:
    images = random_images(4, 8, 3)
    before = images.clone()
    assert torch.equal(augment(images, draws_of(4)), before)
    augment(images, draws_of(4, flip=True, angle=1.0, shift=(2, -1)))
    assert torch.equal(images, before)


def test_images_of_a_batch_draw_apart_from_each_other() -> None:
    draws = draw(400, 32, EVERYTHING, seeded())
    assert len(set(draws.angle.tolist())) > 390
    assert len(set(map(tuple, draws.shift.tolist()))) == 7 * 7
    assert 150 < int(draws.flip.sum()) < 250


def test_draws_stay_within_the_recipe_and_reach_its_limits() -> None:
    draws = draw(4000, 8, Recipe(rotation=15.0, crop_padding=2, cutout=3), seeded())
    degrees = draws.angle.rad2deg()
    assert (degrees.min().item(), degrees.max().item()) == pytest.approx((-15, 15), abs=0.1)
    assert degrees.abs().max() <= 15 + 1e-4
    assert set(draws.shift.flatten().tolist()) == {-2, -1, 0, 1, 2}
    corner, side = draws.hole[:, :2], draws.hole[:, 2]
    assert set(corner.flatten().tolist()) == set(range(-1, 7))  # so every pixel of the image is a hole's centre
    assert set(side.tolist()) == {0, 3}
    assert 1800 < int((side == 3).sum()) < 2200


def test_boxes_are_drawn_for_a_share_of_the_images_and_cover_any_part_of_them() -> None:
    boxes = draw(4000, 32, Recipe(cutmix=0.5), seeded()).box
    assert (boxes.min().item(), boxes.max().item()) == (0, 32)
    height, width = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    drawn = boxes.any(dim=1)
    assert 1900 < int(drawn.sum()) < 2100
    # On average, (s - s^2 / 4)^2 of the image's area lies within a square of side s around any point. As s^2 is uniform
    # from 0 to 1, the mean is the integral of 2s (s - s^2 / 4)^2.
    areas = (height * width)[drawn] / 32**2
    assert areas.mean().item() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)  # 3 standard errors
    assert not draw(4000, 32, Recipe(), seeded()).box.any()


def test_same_seed_same_draws_other_seed_others() -> None:
    first, again, other = (draw(50, 32, EVERYTHING, seeded(seed)) for seed in (3, 3, 4))
    for name in ("flip", "angle", "shift", "hole", "box"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_no_image_is_flipped_if_the_recipe_says_so() -> None:
    assert not draw(5000, 32, Recipe(flip=False), seeded()).flip.any()


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_equals_torchvisions(channels: int) -> None:
    images = random_images(10, 9, channels)
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.247, 0.2435, 0.2616)[:channels]
    scaled = tv.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True)
    torch.testing.assert_close(Normalisation(mean, std)(images), tv.normalize(scaled, list(mean), list(std)))


@pytest.mark.parametrize("channels", [1, 3])
def test_measured_normalisation_equals_numpys(channels: int) -> None:
    images = random_images(50, 12, channels).numpy()
    images[..., 0] //= 3
    measured = measure_normalisation(images)
    scaled = images.astype(np.float64) / 255
    assert measured.mean == pytest.approx(scaled.mean(axis=(0, 1, 2)).tolist(), rel=1e-12)
    assert measured.std == pytest.approx(scaled.std(axis=(0, 1, 2)).tolist(), rel=1e-12)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_constant_channel_of_any_level_becomes_zero(count: int) -> None:
    for level in range(256):
        images = np.full((count, 2, 2, 1), level, np.uint8)
        measured = measure_normalisation(images)
        assert measured.std == (1.0,)
        assert measured(torch.from_numpy(images)).abs().max() < 1e-6
