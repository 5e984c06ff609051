"""Picks images at random by a seed, so that every class keeps its share."""

import numpy as np
from numpy.typing import NDArray


def stratified_counts(available: NDArray[np.int64], total: int, leave: int = 0) -> NDArray[np.int64]:
    """How many images of each class to pick so that the picks sum to `total` and keep the classes' shares.

    The method is that of the largest remainder, with ties going to the lower class index; then the counts are changed
    so that at least one image of every class is picked and at least `leave` are left behind. `available`
    (num_classes,) must allow that: every entry at least `1 + leave`, and `total` between `num_classes` and
    `sum(available - leave)`.
    """
    most = available - leave
    if available.min() < 1 + leave or not len(available) <= total <= most.sum():
        raise ValueError(f"cannot pick {total} of {available.tolist()} with one of each class and {leave} left behind")
    # Computed in whole numbers, since a float quota could round a tie either way.
    counts, remainders = np.divmod(available * total, available.sum())
    short = total - int(counts.sum())
    counts[np.argsort(-remainders, kind="stable")[:short]] += 1
    counts = np.clip(counts, 1, most)
    while counts.sum() > total:
        counts[np.argmax(counts)] -= 1
    while counts.sum() < total:
        counts[np.argmax(most - counts)] += 1
    return counts


def pick(labels: NDArray[np.int64], counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Sorted indices of `counts[c]` images of each class c, drawn without replacement from `labels` (N,).

    Each class has its own random stream, and fewer picks from it are a prefix of more, so a smaller pick with the same
    seed is a subset of a larger one.
    """
    picked = []
    for class_index, count in enumerate(counts):
        members = np.flatnonzero(labels == class_index)
        picked.append(np.random.default_rng([seed, class_index]).permutation(members)[:count])
    return np.sort(np.concatenate(picked))
