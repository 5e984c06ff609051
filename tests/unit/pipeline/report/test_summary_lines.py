"""Tests a sweep's last line, about the registry, which others may have changed since the model was registered."""

from typing import Any

import pytest

from pipeline.report.summary_lines import summary_lines

MODEL = {
    "name": "trial 3", "trial": 3, "published": False, "error": None, "val_mean": 0.9, "val_spread": None,
    "test_mean": 0.8, "test_spread": None, "shrinkage": None, "best_seed": 1, "test_correct": 80,
}  # fmt: skip


def registry_line(aliases: list[str], champion: int | None, accuracy: float | None = None) -> str:
    summary: dict[str, Any] = {
        "winner": MODEL, "baseline": MODEL, "gain": {"val_accuracy": 0, "test_accuracy": 0},
        "confirm": {"seeds": 1, "models": [MODEL]}, "asha": {"epochs": 1, "full_grid_epochs": 2, "share": 0.5},
        "importance_lines": [], "edges": [], "audit": None, "test_set_reads": 1, "dataset": {"test_images": 100},
        "registry": {
            "model": "vit-x", "version": 2, "aliases": aliases, "champion_version": champion,
            "champion_test_accuracy": accuracy,
        },
    }  # fmt: skip
    return summary_lines(summary)[-1]


@pytest.mark.parametrize(
    ("aliases", "champion", "accuracy", "expected"),
    [
        (["challenger"], None, None, "is the challenger (seed 1, test 80 of 100); there is no champion yet"),
        (["challenger"], 1, 0.75, "is the challenger (seed 1, test 80 of 100); champion: version 1, test 75.00%"),
        (["challenger"], 1, None, "is the challenger (seed 1, test 80 of 100); champion: version 1"),
        (["champion"], 2, 0.8, "is the champion (seed 1, test 80 of 100)"),
        (["champion", "challenger"], 2, 0.8, "is the champion and challenger (seed 1, test 80 of 100)"),
        (["previous"], 3, 0.9, "is the previous champion (seed 1, test 80 of 100); champion: version 3, test 90.00%"),
        ([], 3, 0.9, "has no alias (seed 1, test 80 of 100); champion: version 3, test 90.00%"),
        ([], None, None, "has no alias (seed 1, test 80 of 100); there is no champion yet"),
    ],
)
def test_the_version_is_called_by_the_aliases_that_it_has(
    aliases: list[str], champion: int | None, accuracy: float | None, expected: str
) -> None:
    assert registry_line(aliases, champion, accuracy) == f"registry: vit-x version 2 {expected}"
