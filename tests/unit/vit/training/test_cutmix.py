"""CutMix compared with torchvision's, with the same boxes and, by hand, with boxes of its own for each image."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.unit.vit.training.toy import CONFIG, CPU, NORMALISATION, PLAIN, toy_split
from vit.training.cutmix import mixed_targets, paste
from vit.training.fit import Fit
from vit.training.runtime import Runtime

CLASSES = 5


def images_and_labels(count: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)


@pytest.mark.parametrize("seed", range(8))
def test_equals_torchvisions_cutmix(seed: int) -> None:
    images, labels = images_and_labels(6, 32)
    torch.manual_seed(seed)
    transform = v2.CutMix(num_classes=CLASSES)
    drawn = transform.make_params([images.permute(0, 3, 1, 2)])
    left, top, right, bottom = drawn["box"]
    # torchvision pastes the image before each one, and we the image after it: so ours come in the opposite order.
    torch.manual_seed(seed)
    expected, expected_targets = transform(images.permute(0, 3, 1, 2), labels)
    backwards = torch.cat((images.flip(0), images[-1:]))
    backward_labels = torch.cat((labels.flip(0), labels[-1:]))
    boxes = torch.tensor([[top, left, bottom, right]]).repeat(6, 1)
    assert torch.equal(paste(backwards, boxes).flip(0), expected.permute(0, 2, 3, 1))
    torch.testing.assert_close(mixed_targets(backward_labels, boxes, CLASSES, 32).flip(0), expected_targets)


def test_each_image_has_its_own_box_and_its_label_a_share_of_the_area() -> None:
    images, labels = torch.arange(4).view(4, 1, 1, 1).expand(4, 4, 4, 1), torch.tensor([2, 0, 1, 1])
    boxes = torch.tensor([[0, 0, 0, 0], [1, 0, 3, 1], [0, 1, 4, 4]])
    assert paste(images, boxes).squeeze(3).tolist() == [
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[1, 1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1], [1, 1, 1, 1]],
        [[2, 3, 3, 3], [2, 3, 3, 3], [2, 3, 3, 3], [2, 3, 3, 3]],
    ]
    assert mixed_targets(labels, boxes, 3, 4).tolist() == [[0, 0, 1], [0.875, 0.125, 0], [0, 1, 0]]


def test_batches_of_trainings_are_mixed_each_for_itself() -> None:
    images, labels = images_and_labels(8, 16)
    boxes = torch.tensor([[0, 0, 8, 8], [4, 4, 16, 9], [0, 0, 0, 0]])
    together = paste(images.view(2, 4, 16, 16, 3), boxes.expand(2, 3, 4))
    assert torch.equal(together, torch.stack((paste(images[:4], boxes), paste(images[4:], boxes))))
    targets = mixed_targets(labels.view(2, 4), boxes.expand(2, 3, 4), CLASSES, 16)
    assert torch.equal(targets[1], mixed_targets(labels[4:], boxes, CLASSES, 16))


def test_a_training_sees_mixed_images_and_counts_each_as_the_class_with_the_larger_part() -> None:
    """The classes of the toy images are levels of brightness, 60 apart: noise alone never reaches the next level."""
    seen: list[Tensor] = []
    fit = Fit(
        CONFIG, replace(PLAIN, cutmix=1.0), Runtime(CPU), toy_split(64), toy_split(8, seed=1), NORMALISATION, seed=0
    )
    fit.model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs[0]) if model.training else None)
    counts = fit.run_epoch().train
    levels = (
        torch.cat(seen).mul(NORMALISATION.std[0]).add(NORMALISATION.mean[0]).mul(255).div(60, rounding_mode="floor")
    )
    classes = torch.stack([(levels.flatten(1) == level).sum(dim=1) for level in range(4)], dim=1)
    mixed = (classes > 0).sum(dim=1)
    assert set(mixed.tolist()) == {1, 2}
    assert int((mixed == 2).sum()) > 32  # three quarters of the partners are of another class
    assert counts.confusion.sum(dim=1).tolist() == classes.argmax(dim=1).bincount(minlength=4).tolist()
