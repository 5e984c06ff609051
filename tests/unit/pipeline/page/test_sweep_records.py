"""Tests of reading a sweep's records from a real store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.page.sweep_records import read_predictions, read_sweep
from pipeline.tracking.tracker import Tracker
from pipeline.trials.predictions import Predictions
from tests.unit.pipeline.page.sweep_of_all import answers, finalist, mistakes, row

DIGEST = "sha256:bb"


@dataclass
class Store:
    """A sweep's runs (two trials, trainings of the winner and the published configuration) and another champion."""

    tracker: Tracker
    summary: dict[str, Any]
    sweep: str

    def with_registry(self, champion: int | None) -> dict[str, Any]:
        registry = {"model": "vit-digits", "version": 9, "champion_version": champion}
        return {**self.summary, "registry": registry}


def add_training(tracker: Tracker, folder: Path, name: str, seed: int, said: Predictions | None) -> str:
    tracker.start_run(name, name, None, {"pipeline.kind": "finalist", "pipeline.confirm_seed": str(seed)})
    if said is not None:
        files = folder / name
        (files / "evaluation").mkdir(parents=True)
        said.write(files / "evaluation" / "test_predictions.csv")
        tracker.log(name, files=files)
    tracker.end_run(name, "FINISHED")
    return tracker.run_id(name)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("records")
    tracker = Tracker(f"sqlite:///{folder}/mlflow.db", "vit-digits")
    rows = []
    for trial in (0, 1):
        tracker.start_run(f"trial/{trial}", f"trial-0{trial}", at=100_000)
        for epoch in (1, 2):
            metrics = {"val/accuracy": 0.4 * epoch, "images_per_second": 96.0, "epoch_seconds": 11.0}
            tracker.log(f"trial/{trial}", metrics, step=epoch, at=110_000 * epoch)
        if trial == 1:
            tracker.log(f"trial/{trial}", tags={"pipeline.fused": "3"})
        tracker.end_run(f"trial/{trial}", "FINISHED", at=230_000)
        rows.append({**row(trial + 1, trial), "run_id": tracker.run_id(f"trial/{trial}")})
    winner = [add_training(tracker, folder, f"winner-{seed}", seed, answers(seed, 0.9)) for seed in (0, 1)]
    published = [add_training(tracker, folder, "published", 0, None)]
    champion = add_training(tracker, folder, "champion", 0, answers(7, 0.8))
    tracker.client.create_registered_model("vit-digits")
    for digest in (DIGEST, "sha256:other"):
        tags = {"pipeline.test_digest": digest}
        tracker.client.create_model_version("vit-digits", str(folder), champion, tags=tags)
    summary = {
        "dataset": {"train_images": 1000, "test_digest": DIGEST},
        "leaderboard": [*rows, {**row(3, 2), "run_id": "0" * 32}],
        "winner": {**finalist(1, 0.9, None), "run_ids": winner, "best_seed": 1},
        "baseline": {**finalist(0, 0.7, None), "run_ids": published},
        "registry": {"model": "vit-digits", "version": 9, "champion_version": 1},
    }
    files = folder / "summary"
    files.mkdir()
    (files / "summary.json").write_text(json.dumps(summary))
    mistakes().write(files / "mistakes.npz")
    tracker.start_run("sweep", "sweep-digits-1")
    tracker.log("sweep", files=files)
    yield Store(tracker, summary, tracker.run_id("sweep"))
    tracker.close()


def test_all_that_is_recorded_is_read(store: Store) -> None:
    found = read_sweep(store.tracker.client, store.sweep)
    assert found.summary == store.summary
    assert found.mistakes is not None and len(found.mistakes) == 2
    assert [trial.index for trial in found.trials] == [0, 1]  # the run of the third is gone
    (first, second) = found.trials
    assert (first.together, second.together) == (1, 3)
    assert (first.started, first.ended, first.images_per_second) == (100.0, 230.0, 96.0)
    assert [(epoch.number, epoch.accuracy, epoch.ended) for epoch in first.epochs] == [(1, 0.4, 110.0), (2, 0.8, 220.0)]
    assert {epoch.training_seconds for epoch in first.epochs} == {15 * 64 / 96}


def test_the_best_trainings_answers_are_read(store: Store) -> None:
    found = read_predictions(store.tracker.client, store.summary)
    assert found.keys() == {"winner", "champion"}  # none are recorded of the published configuration
    np.testing.assert_array_equal(found["winner"].predicted, answers(1, 0.9).predicted)
    np.testing.assert_array_equal(found["champion"].predicted, answers(7, 0.8).predicted)


def test_answers_that_are_at_hand_are_not_read_again(store: Store) -> None:
    at_hand = {"winner": answers(3, 0.9)}
    assert read_sweep(store.tracker.client, store.sweep, at_hand).predictions is at_hand


@pytest.mark.parametrize(
    "champion", [None, 9, 2, 77], ids=["none", "the winner itself", "of other images", "a version that is gone"]
)
def test_no_other_champion_is_compared(store: Store, champion: int | None) -> None:
    assert read_predictions(store.tracker.client, store.with_registry(champion)).keys() == {"winner"}


def test_a_run_without_a_summary_is_refused(store: Store) -> None:
    with pytest.raises(PipelineError, match=r"holds no summary\.json"):
        read_sweep(store.tracker.client, store.summary["leaderboard"][0]["run_id"])
