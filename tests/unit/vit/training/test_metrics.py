"""Counts compared with numbers counted by hand and with scikit-learn."""

from itertools import accumulate

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix
from torch import Tensor

from vit.training.metrics import Counter, Counts

CPU = torch.device("cpu")


def batches(logits: Tensor, labels: Tensor, sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    ends = list(accumulate(sizes))
    return [(logits[end - size : end], labels[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def count(logits: Tensor, labels: Tensor, batch_sizes: list[int]) -> Counts:
    counter = Counter(logits.shape[1], CPU)
    for batch in batches(logits, labels, batch_sizes):
        counter.add(*batch)
    return counter.counts()


def random_batch(images: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator) * 4
    return logits, torch.randint(0, classes, (images,), generator=generator)


def test_counts_equal_those_by_hand() -> None:
    predicted = torch.tensor([0, 1, 1, 2, 2, 2])
    labels = torch.tensor([0, 1, 0, 2, 2, 1])
    counts = count(F.one_hot(predicted, 4).float(), labels, [6])
    assert counts.confusion.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert (counts.correct, counts.total, counts.accuracy) == (4, 6, 4 / 6)
    assert counts.class_accuracy == [0.5, 0.5, 1.0, None]
    # -log softmax of (1, 0, 0, 0): log(e + 3) - 1 where right, log(e + 3) where wrong.
    assert counts.loss == pytest.approx(np.log(np.e + 3) - 4 / 6)


def test_confusion_equals_scikit_learns() -> None:
    logits, labels = random_batch(images=500, classes=7)
    expected = confusion_matrix(labels.numpy(), logits.argmax(1).numpy(), labels=range(7))
    assert count(logits, labels, [500]).confusion.tolist() == expected.tolist()


def test_unequal_batches_give_the_mean_over_images_not_over_batches() -> None:
    logits, labels = random_batch(images=101, classes=5)
    labels[100] = logits[100].argmin()  # a batch of one, with a large loss that would distort a mean of batch means
    sizes = [60, 40, 1]
    counts = count(logits, labels, sizes)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    assert counts.loss == pytest.approx(F.cross_entropy(logits.double(), labels).item(), rel=1e-6)
    assert counts.accuracy == accuracy
    batch_means = [F.cross_entropy(*batch).item() for batch in batches(logits, labels, sizes)]
    assert counts.loss != pytest.approx(np.mean(batch_means), rel=0.1)


def test_parts_add_up_to_the_whole() -> None:
    logits, labels = random_batch(images=90, classes=4)
    parts = count(logits[:13], labels[:13], [13]) + count(logits[13:], labels[13:], [77])
    whole = count(logits, labels, [90])
    assert torch.equal(parts.confusion, whole.confusion)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_bf16_logits_are_summed_in_full_precision() -> None:
    logits, labels = random_batch(images=4096, classes=3)
    coarse = logits.bfloat16()
    expected = F.cross_entropy(coarse.double(), labels).item()
    assert count(coarse, labels, [1] * 4096).loss == pytest.approx(expected, rel=1e-6)


def test_counts_taken_early_do_not_change_afterwards() -> None:
    logits, labels = random_batch(images=20, classes=3)
    counter = Counter(3, CPU)
    counter.add(logits, labels)
    early = counter.counts()
    counter.add(logits, labels)
    assert (early.total, counter.counts().total) == (20, 40)
