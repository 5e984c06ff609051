"""Builds the records of a sweep with everything in it, and with markup wherever there may be a user's own words."""

from typing import Any

import numpy as np

from pipeline.page.mistakes import Mistakes
from pipeline.page.recorded_trials import RecordedEpoch, RecordedTrial
from pipeline.page.sweep_records import SweepRecords
from pipeline.trials.predictions import Predictions

HOSTILE = "<script>alert('x')</script>\"&"
CLASSES = ["cat", HOSTILE, "unseen"]
TRIALS = 24


def records(summary: dict[str, Any]) -> SweepRecords:
    return SweepRecords(
        summary,
        [recorded(row) for row in summary["leaderboard"]],
        {"winner": answers(seed=0, right=0.9), "published": answers(seed=1, right=0.7), "champion": answers(2, 0.8)},
        mistakes(),
    )


def recorded(row: dict[str, Any]) -> RecordedTrial:
    started = 1000.0 + row["trial"]
    epochs = [
        RecordedEpoch(number, row["val_accuracy"] * number / row["epochs_run"], 500.0, 1.0, 0.8, started + 1.5 * number)
        for number in range(1, row["epochs_run"] + 1)
    ]
    return RecordedTrial(row["trial"], started, started + 1.5 * row["epochs_run"] + 0.2, tuple(epochs))


def answers(seed: int, right: float) -> Predictions:
    """Returns predictions for 100 images of the first two classes; each is correct with probability `right`."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1]), 50)
    predicted = np.where(random.random(100) < right, labels, 1 - labels)
    confidence = random.uniform(0.5, 1, 100)
    return Predictions(labels, predicted, confidence, np.where(predicted == labels, confidence, 1 - confidence))


def mistakes() -> Mistakes:
    return Mistakes(
        np.zeros((2, 8, 8, 1), dtype=np.uint8), np.array([0, 1]), np.array([1, 0]), np.array([0.99, 0.8]),
        np.array([0.01, 0.2]), np.array([[[0.1, 0.2], [0.3, 0.4]]] * 2, dtype=np.float32), np.array(True),
    )  # fmt: skip


def sweep_summary() -> dict[str, Any]:
    rows = [row(rank, trial=rank % TRIALS) for rank in range(1, TRIALS + 1)]
    return {
        "sweep": {
            "name": "sweep-digits-1a2b3c4d", "run_id": "0f0f", "experiment": "vit-digits",
            "tracking_uri": "sqlite:////x/mlflow.db", "folder": "/x/sweeps/sweep-digits-1a2b3c4d", "seed": 7,
            "space": "small", "precision": "bf16", "command": "python -m pipeline.sweep --dataset '<i>&'",
        },
        "dataset": {
            "name": HOSTILE, "digest": "sha256:aa", "test_digest": "sha256:bb", "train_images": 1294,
            "validation_images": 144, "test_images": 100,
        },
        "lines": ["winner: trial 7, validation 98.80%", f"published configuration: {HOSTILE}"],
        "leaderboard": rows,
        "winner": finalist(7, 0.988, 0.0042), "baseline": finalist(0, 0.97, None),
        "gain": {"val_accuracy": 0.0123, "test_accuracy": -0.004},
        "asha": {"rungs": [3, 9, 45], "epochs": 318, "full_grid_epochs": 1440, "share": 318 / 1440},
        "registry": {
            "model": "vit-digits", "version": 3, "aliases": ["challenger"], "champion_version": 2,
            "champion_test_accuracy": 0.8,
        },
        "seconds": {
            "stages": {"ray": 4.0, "search": 96.04}, "training": 3725.0, "concurrent_trials": 2, "cluster_cores": 2.0,
        },
        "next": {"view": "python -m pipeline.ui", "promote": "python -m pipeline.promote --model vit-digits"},
        "stages": [
            {"name": "prepare", "inputs": [], "outcome": "cached", "reason": "nothing changed", "seconds": None,
             "run_id": "3f2a8b1c00"},
            {"name": "search", "inputs": ["prepare"], "outcome": "run", "reason": HOSTILE, "seconds": 96.04,
             "run_id": None},
        ],
        "confirm": {"seeds": 2, "epochs": 45, "models": [finalist(7, 0.988, 0.0042), finalist(0, 0.97, None)]},
        "test_set_reads": 4,
        "edges": [f"depth is at the edge {HOSTILE}"],
        "importance": {
            "target": "val_accuracy", "trials": 24, "score": 0.6, "shares": {"depth": 0.7, "patch_size": 0.3},
        },
        "importance_lines": ["of 24 trials, depth explains most"],
        "audit": {
            "lines": ["of 5 stopped trials run on, none won"],
            "rungs": [{"epoch": 3, "correlation": 0.734, "trials": 5}, {"epoch": 9, "correlation": None, "trials": 1}],
        },
    }  # fmt: skip


def row(rank: int, trial: int) -> dict[str, Any]:
    stopped = rank > 3 and trial != 0
    return {
        "rank": rank, "trial": trial, "val_accuracy": round(0.99 - rank / 100, 4), "val_loss": 0.1, "best_epoch": 3,
        "epochs_run": 3 if stopped else 45, "ended": "asha" if stopped else "finished", "error": None,
        "num_parameters": 123456, "training_seconds": 75.2, "run_id": f"run{trial}", "img_size": 8,
        "patch_size": (1, 2, 4)[trial % 3], "in_chans": 1, "num_classes": 3, "embed_dim": 96, "depth": 2 + trial % 4,
        "num_heads": 3, "batch_size": 64, "learning_rate": 1e-3 * (1 + trial), "flip": bool(trial % 2),
        "decisions": [
            {"epoch": 3, "accuracy": round(0.9 - rank / 100, 4), "cutoff": 0.87 if trial else None, "rank": rank,
             "of": rank, "go_on": not stopped},
        ],
    }  # fmt: skip


def finalist(trial: int, mean: float, spread: float | None) -> dict[str, Any]:
    return {
        "name": "published" if trial == 0 else f"trial {trial}", "trial": trial, "published": trial == 0, "error": None,
        "search_accuracy": 0.9965, "val_accuracies": [mean - 0.003, mean + 0.003], "val_mean": mean,
        "val_spread": spread, "shrinkage": 0.9965 - mean, "test_accuracies": [0.98, 0.96], "test_mean": 0.97,
        "test_spread": None, "run_ids": ["a1", "b2"], "best_seed": 0, "test_correct": 90,
        "test_class_accuracy": dict(zip(CLASSES, (0.91, 0.87, None), strict=True)),
    }  # fmt: skip
