"""Tests of which trials may be trained as one (fused), and in how many parts."""

from dataclasses import replace

import pytest

from pipeline.search.fused_groups import fused_groups, in_parts
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe


def trial(index: int, depth: int = 6, drop_path_rate: float = 0.0, **recipe: object) -> TrialSpec:
    model = replace(ViTConfig(), depth=depth, drop_path_rate=drop_path_rate)
    return TrialSpec(index, model, replace(Recipe(), **recipe), seed=index)  # type: ignore[arg-type]


def indices(groups: list[list[TrialSpec]]) -> list[list[int]]:
    return [[spec.index for spec in group] for group in groups]


def test_trials_of_one_shape_and_batch_size_go_together() -> None:
    specs = [
        trial(0), trial(1, depth=4), trial(2, learning_rate=0.01), trial(3, batch_size=64), trial(4, depth=4),
        trial(5, optimizer="muon"), trial(6, label_smoothing=0.1), trial(7, drop_path_rate=0.1),
        trial(8, drop_path_rate=0.1),
    ]  # fmt: skip
    assert indices(fused_groups(specs)) == [[0, 2, 6], [1, 4]]


@pytest.mark.parametrize(
    ("count", "slots", "most", "sizes"),
    [
        (7, 1, None, [7]),
        (7, 2, None, [4, 3]),
        (7, 1, 3, [3, 2, 2]),
        (7, 8, None, [3, 2, 2]),  # no part has only one trial
        (32, 4, 16, [8, 8, 8, 8]),
        (2, 4, None, [2]),
    ],
)
def test_parts_keep_the_slots_busy_and_are_even(count: int, slots: int, most: int | None, sizes: list[int]) -> None:
    parts = in_parts([trial(index) for index in range(count)], slots, most)
    assert [len(part) for part in parts] == sizes
    assert sorted(index for part in indices(parts) for index in part) == list(range(count))
