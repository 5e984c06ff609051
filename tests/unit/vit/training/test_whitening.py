"""Whitening: how its filters respond to the patches, and that large images cost no more than small ones."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.unit.vit.training.toy import smooth_images
from vit.data.normalisation import Normalisation
from vit.training import whitening
from vit.training.runtime import Split
from vit.training.whitening import MOST_NUMBERS, filters_for, sampled_images, whitening_filters

NORMALISATION = Normalisation((0.5,) * 3, (0.25,) * 3)


def answers_covariance(images: Tensor, filters: Tensor) -> Tensor:
    """The covariance between the filters' outputs over the images' patches."""
    return F.conv2d(images, filters, stride=filters.shape[-1]).transpose(0, 1).flatten(1).cov()


def noise(count: int, side: int) -> Split:
    shape = (count, side, side, 3)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(images, torch.zeros(count, dtype=torch.int64))


def test_whitened_patches_are_uncorrelated_and_of_variance_one() -> None:
    images = smooth_images()
    filters = whitening_filters(images, 4, most=1000)
    assert filters.shape == (2 * 48, 3, 4, 4)
    torch.testing.assert_close(filters[::2], -filters[1::2])
    covariance = answers_covariance(images, filters[::2])
    variances = covariance.diagonal()
    assert variances[0] == pytest.approx(1.0, abs=0.01)  # the 1e-2 added to every variance hardly changes the largest
    assert (variances.diff() < 1e-3).all()  # the finer the detail, the smaller the variance
    torch.testing.assert_close(covariance, variances.diag(), atol=1e-3, rtol=0)


def test_an_odd_number_of_filters_is_that_many() -> None:
    images = smooth_images(50)
    torch.testing.assert_close(whitening_filters(images, 4, 7), whitening_filters(images, 4, 96)[:7])


def test_of_large_patches_only_the_leading_directions_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    images = smooth_images(600)
    exact = whitening_filters(images, 16, 24)  # 768 dimensions
    monkeypatch.setattr(whitening, "MOST_EXACT_DIMENSIONS", 500)
    monkeypatch.setattr(torch.linalg, "eigh", None)
    before = torch.get_rng_state()
    leading = whitening_filters(images, 16, 24)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(leading, whitening_filters(images, 16, 24))
    torch.testing.assert_close(leading[::2], -leading[1::2])
    ours, theirs = (answers_covariance(images, filters[::2]) for filters in (leading, exact))
    torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)
    cosines = F.cosine_similarity(leading.flatten(1), exact.flatten(1)).abs()
    assert (cosines[:12] > 0.99).all()


def test_fewer_patches_than_filters_give_as_many_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "MOST_EXACT_DIMENSIONS", 500)
    filters = whitening_filters(smooth_images(5), 16, 192)
    assert len(filters) == 2 * 5
    assert filters.isfinite().all()


@pytest.mark.parametrize(
    ("count", "side", "looked"), [(4500, 8, 1500), (90_000, 2, 2000), (300, 224, 75), (3, 2100, 2)]
)
def test_the_images_are_evenly_taken_and_their_numbers_limited(count: int, side: int, looked: int) -> None:
    images = torch.zeros(1, dtype=torch.uint8).expand(count, side, side, 3)
    assert len(sampled_images(images)) == looked


def test_of_large_images_no_more_is_unfolded_than_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    unfolded: list[int] = []
    real = F.unfold

    def unfold(images: Tensor, *arguments: Any, **options: Any) -> Tensor:
        unfolded.append(images.numel())
        return real(images[:2], *arguments, **options)

    monkeypatch.setattr(F, "unfold", unfold)
    filters_for(noise(200, 224), NORMALISATION)(16, 8)
    assert 0.5 * MOST_NUMBERS < unfolded[0] <= MOST_NUMBERS


def test_of_small_images_all_is_as_it_was_bit_for_bit() -> None:
    """Of small images up to 2,000 are all used, and the covariance is that of all their patches."""
    train = noise(900, 32)
    patches = F.unfold(NORMALISATION(train.images), 4, stride=4).transpose(1, 2).reshape(-1, 48).double()
    variances, directions = torch.linalg.eigh((patches - patches.mean(dim=0)).T.cov())
    filters = (directions / (variances + 1e-2).sqrt()).T.flip(0).float()
    expected = torch.stack((filters, -filters), dim=1).view(-1, 3, 4, 4)
    assert torch.equal(filters_for(train, NORMALISATION)(4, 192), expected)


def test_the_same_filters_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = filters_for(noise(10, 8), NORMALISATION)
    first = filters(4, 8)
    monkeypatch.setattr(whitening, "whitening_filters", None)
    assert torch.equal(filters(4, 8), first)
