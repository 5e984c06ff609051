"""Tests that a training whose process dies between any two writes ends like one that was never disturbed."""

import errno
import itertools
import json
import os
import posixpath
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from pipeline.training.epoch_metrics import class_metric_names, counts_metrics
from pipeline.training.training import LoadedData, Training, TrainingContext, TrainingData, is_out_of_memory
from pipeline.training.training_folder import Found
from pipeline.trials.folder import CONFUSION_FILE, HISTORY_FILE, TrialHistory, read_confusion, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import ImageArrays
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import load_model, remove_state
from vit.files.storage import CONFIG_FILE, PREVIOUS_STATE_FILE, STATE_FILE, WEIGHTS_FILE, Folder
from vit.model.config import ViTConfig
from vit.training.fit import NonFiniteLossError
from vit.training.metrics import Counts
from vit.training.parallel import Workers
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

MODEL = ViTConfig(
    img_size=8, in_chans=1, num_classes=2, embed_dim=8, depth=1, num_heads=1, proj_drop_rate=0.1, global_pool="avg"
)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=3e-3, ema_decay=0.5, flip=False, crop_padding=1)
SPECS = {
    "better": TrialSpec(3, MODEL, RECIPE, seed=1),
    "not better": TrialSpec(3, MODEL, replace(RECIPE, learning_rate=1e-12), seed=1),
}
"""Trainings, by whether the second epoch is better than the first."""
FILES = {CONFIG_FILE, CONFUSION_FILE, HISTORY_FILE, STATE_FILE, PREVIOUS_STATE_FILE, WEIGHTS_FILE}


def images(count: int, seed: int) -> ImageArrays:
    """Returns images of noise (count, 8, 8, 1) in two classes, of which the second is a little brighter."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(0, 226, (count, 8, 8, 1)) + 30 * labels[:, None, None, None]
    return ImageArrays(pixels.astype(np.uint8), labels)


DATA = TrainingData(images(48, 0), images(40, 1), Normalisation((0.5,), (0.25,)), ("dark", "bright"))


def open_training(base: Path, spec: TrialSpec, workers: Workers = Workers()) -> Training:  # noqa: B008
    data = LoadedData.of(DATA, torch.device("cpu"))
    return Training(spec, data, TrainingContext(str(base), "fp32", compile=False), Runtime(), workers)


class Group(Workers):
    """Stands for workers that run one after another in this process; each gets the value that the first one has."""

    said: ClassVar[list[Any]] = []

    def first(self, value: Any, device: torch.device) -> Any:
        if self.rank == 0:
            self.said.append(value)
        return self.said[-1]


def test_workers_go_on_from_the_state_that_the_first_one_reads(tmp_path: Path) -> None:
    """On a network file system, another node may see the folder as it was a while ago."""
    training = open_training(tmp_path, SPECS["better"])
    training.run_epoch()
    training.run_epoch()
    folder = trial_folder(str(tmp_path), 3)
    first = open_training(tmp_path, SPECS["better"], Group(rank=0))
    folder.rename(PREVIOUS_STATE_FILE, STATE_FILE)  # what the second worker sees
    second = open_training(tmp_path, SPECS["better"], Group(rank=1))
    assert [worker._fit.epochs_done for worker in (first, second)] == [2, 2]
    assert len(second.history.epochs) == 2


def live(base: Path, spec: TrialSpec) -> TrialHistory:
    """Resumes the training and runs it to its end, as one process does, checking the weights; returns its history."""
    training = open_training(base, spec)
    assert_weights_are_the_best(base)
    while not training.is_done:
        training.run_epoch()
        assert_weights_are_the_best(base)
    return training.history


def assert_weights_are_the_best(base: Path) -> None:
    folder = trial_folder(str(base), 3)
    best = TrialHistory.read(folder).best_epoch
    if best == 0:
        assert not folder.exists(WEIGHTS_FILE)
        return
    with safe_open(folder.path(WEIGHTS_FILE), "pt") as weights:
        assert weights.metadata() == {"epoch": str(best)}


def without_times(history: TrialHistory) -> dict[str, Any]:
    values = json.loads(json.dumps(asdict(history)))
    for entry in values["epochs"]:
        del entry["at"], entry["metrics"]["images_per_second"], entry["metrics"]["epoch_seconds"]
    return dict(values)


@dataclass(frozen=True)
class Ended:
    """What an undisturbed training leaves."""

    spec: TrialSpec
    history: dict[str, Any]
    weights: bytes
    confusion: bytes
    writes: int

    def assert_same(self, base: Path, refused: int = 0) -> None:
        folder = trial_folder(str(base), 3)
        history = without_times(TrialHistory.read(folder))
        assert len(history.pop("refused")) == refused
        assert history == {name: value for name, value in self.history.items() if name != "refused"}
        assert folder.read(WEIGHTS_FILE) == self.weights
        assert folder.read(CONFUSION_FILE) == self.confusion
        assert {path.name for path in (base / "00003").iterdir()} == FILES  # and no half-written file


@pytest.fixture(scope="module", params=SPECS)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    base, spec = tmp_path_factory.mktemp("undisturbed"), SPECS[request.param]
    with pytest.MonkeyPatch.context() as patched:
        counted = count_writes(patched)
        history = live(base, spec)
    assert history.best_epoch == (2 if request.param == "better" else 1)
    folder = trial_folder(str(base), 3)
    left = folder.read(WEIGHTS_FILE), folder.read(CONFUSION_FILE)
    return Ended(spec, without_times(history), *left, next(counted) - 1)


class Killed(BaseException):
    """Ends the simulated process: no `except Exception` catches it."""


def count_writes(
    patched: pytest.MonkeyPatch, before: int | None = None, after: int | None = None
) -> "itertools.count[int]":
    """Counts the writes of all folders from 1; raises Killed before, or after, the write of the given number."""
    counter, write = itertools.count(1), Folder.write

    def watched(folder: Folder, name: str, content: bytes | memoryview, durable: bool = False) -> None:
        number = next(counter)
        if number == before:
            raise Killed
        write(folder, name, content, durable)
        if number == after:
            raise Killed

    patched.setattr(Folder, "write", watched)
    return counter


def die(base: Path, spec: TrialSpec, **when: int) -> bool:
    """Trains until the process dies at a write; returns False if the training ended before that."""
    with pytest.MonkeyPatch.context() as patched:
        count_writes(patched, **when)
        try:
            live(base, spec)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("when", ["before", "after"])
def test_dead_at_any_write(undisturbed: Ended, tmp_path: Path, when: str) -> None:
    assert undisturbed.writes == (9 if undisturbed.history["best_epoch"] == 2 else 7)
    for number in range(1, undisturbed.writes + 1):
        base = tmp_path / str(number)
        assert die(base, undisturbed.spec, **{when: number})
        live(base, undisturbed.spec)
        undisturbed.assert_same(base)


@pytest.mark.parametrize("seed", range(10))
def test_dead_again_and_again(undisturbed: Ended, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    while die(tmp_path, undisturbed.spec, **{chance.choice(["before", "after"]): chance.randrange(1, 7)}):
        pass
    undisturbed.assert_same(tmp_path)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_broken_state_costs_one_epoch(undisturbed: Ended, tmp_path: Path, epochs: int) -> None:
    training = open_training(tmp_path, undisturbed.spec)
    for _ in range(epochs):
        training.run_epoch()
    path = tmp_path / "00003" / STATE_FILE
    path.write_bytes(path.read_bytes()[:500])
    again = open_training(tmp_path, undisturbed.spec)
    assert len(again.history.epochs) == epochs - 1
    assert [line.partition(" cannot be read")[0] for line in again.history.refused] == [str(path)]
    while not again.is_done:
        again.run_epoch()
    undisturbed.assert_same(tmp_path, refused=1)


def test_a_broken_state_never_takes_the_place_of_a_good_one(
    undisturbed: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = open_training(tmp_path, undisturbed.spec)
    for _ in range(2):
        training.run_epoch()
    folder = trial_folder(str(tmp_path), 3)
    folder.write(STATE_FILE, folder.read(STATE_FILE)[:1000])
    again = open_training(tmp_path, undisturbed.spec)
    write = Folder.write

    def dies_at_the_state(self: Folder, name: str, content: bytes, durable: bool = False) -> None:
        if name == STATE_FILE:
            raise Killed
        write(self, name, content, durable)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", dies_at_the_state)
        with pytest.raises(Killed):
            again.run_epoch()
    assert len(open_training(tmp_path, undisturbed.spec).history.epochs) == 1  # it does not start from the beginning


def test_a_full_disk_leaves_what_stood_there(
    undisturbed: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = open_training(tmp_path, undisturbed.spec)
    training.run_epoch()

    def full(folder: Folder, name: str, content: bytes, durable: bool = False) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", full)
        with pytest.raises(OSError, match="No space left"):
            training.run_epoch()
    assert len(TrialHistory.read(trial_folder(str(tmp_path), 3)).epochs) == 1
    live(tmp_path, undisturbed.spec)
    undisturbed.assert_same(tmp_path)


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Returns a function that leaves of a folder only what the disk has: what was not synced becomes empty."""
    synced: set[int] = set()
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", noted)

    def cut(folder: Path) -> None:
        for path in folder.iterdir():
            if not {path.stat().st_ino, folder.stat().st_ino} <= synced:
                path.write_bytes(b"")

    return cut


def test_a_power_cut_takes_nothing_of_a_trial_that_has_ended(
    undisturbed: Ended, tmp_path: Path, power_cut: Callable[[Path], None]
) -> None:
    """Its states are removed, and only from these could the other files be written again."""
    ledger = Ledger(str(tmp_path), [undisturbed.spec])
    ledger.started(undisturbed.spec)
    told = live(tmp_path, undisturbed.spec)
    record = TrialRecord(undisturbed.spec, "finished", tuple(EpochRecord.of(entry) for entry in told.epochs))
    remove_state(trial_folder(str(tmp_path), 3))
    ledger.end(record)
    power_cut(tmp_path / "00003")
    assert Ledger(str(tmp_path), [undisturbed.spec]).ended == {3: record}
    _, card = load_model(trial_folder(str(tmp_path), 3))
    assert card.class_names == DATA.class_names
    assert read_confusion(trial_folder(str(tmp_path), 3)).sum() == len(DATA.validation.labels)
    assert_weights_are_the_best(tmp_path)


def test_a_power_cut_takes_no_best_epoch_that_is_older_than_the_state(
    tmp_path: Path, power_cut: Callable[[Path], None]
) -> None:
    spec = SPECS["not better"]
    training = open_training(tmp_path, spec)
    training.run_epoch()
    training.run_epoch()
    power_cut(tmp_path / "00003")
    open_training(tmp_path, spec)
    assert_weights_are_the_best(tmp_path)


def test_a_power_cut_takes_no_divergence_that_was_told(tmp_path: Path, power_cut: Callable[[Path], None]) -> None:
    open_training(tmp_path, SPECS["better"]).record_divergence("the loss is not finite")
    power_cut(tmp_path / "00003")
    assert TrialHistory.read(trial_folder(str(tmp_path), 3)).diverged == "the loss is not finite"


def test_what_is_kept_is_ready_to_use(tmp_path: Path) -> None:
    training = open_training(tmp_path, SPECS["better"])
    entry = training.run_epoch()
    model, card = load_model(trial_folder(str(tmp_path), 3))
    assert (card.model, card.normalisation, card.class_names) == (MODEL, DATA.normalisation, DATA.class_names)
    with torch.inference_mode():
        logits = model(card.normalisation(torch.from_numpy(DATA.validation.images)))
    hits = logits.argmax(dim=1).numpy() == DATA.validation.labels
    assert entry["metrics"]["val/accuracy"] == hits.mean()
    for label, name in enumerate(DATA.class_names):
        accuracy = hits[DATA.validation.labels == label].mean()
        assert entry["metrics"][f"val/class_accuracy/{name}"] == pytest.approx(accuracy)


class Second(Workers):
    """Acts as the second of two workers, without a first one."""

    def first(self, value: Any, device: torch.device) -> Any:
        return Found(None, [])  # the first worker found no state

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        return model

    def sum(self, counts: Counts, device: torch.device) -> Counts:
        return counts

    def any(self, flag: Tensor) -> Tensor:
        return flag


def test_only_the_first_worker_writes(tmp_path: Path) -> None:
    training = open_training(tmp_path, SPECS["better"], Second(1, 2))
    for _ in range(2):
        training.run_epoch()
    training.record_divergence("why")
    assert [entry["epoch"] for entry in training.history.epochs] == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_a_divergence_is_written_down_for_the_others(tmp_path: Path) -> None:
    training = open_training(tmp_path, SPECS["better"])
    training.run_epoch()
    training.record_divergence("the loss is not finite")
    history = TrialHistory.read(trial_folder(str(tmp_path), 3))
    assert (history.diverged, len(history.epochs)) == ("the loss is not finite", 1)


def too_large_a_tensor() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "is_it"),
    [
        (too_large_a_tensor, True),
        (fail_with(MemoryError()), True),
        (fail_with(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")), True),
        (fail_with(RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`")), True),
        (fail_with(RuntimeError("mat1 and mat2 shapes cannot be multiplied")), False),
        (fail_with(NonFiniteLossError("the training loss is not finite in epoch 1")), False),
        (fail_with(OSError(errno.ENOSPC, "No space left on device")), False),
    ],
)
def test_out_of_memory(fail: Callable[[], None], is_it: bool) -> None:
    with pytest.raises(Exception) as failed:
        fail()
    assert is_out_of_memory(failed.value) == is_it


def test_class_names_become_metric_names_that_are_plain_and_differ() -> None:
    names = ("cat", "C++", "C##", "../accuracy", "..", "", "a/b", "a_b", "x" * 300, "x" * 301, "rock & roll", "0.5 kg")
    plain = class_metric_names(names)
    assert plain[:8] == ["cat", "C__", "C__-2", ".._accuracy", "class__", "class", "a_b", "a_b-2"]
    assert plain[8:] == ["x" * 200, "x" * 200 + "-2", "rock _ roll", "0.5 kg"]
    assert len(set(plain)) == len(names)


def test_no_class_can_take_another_metrics_name() -> None:
    """MLflow resolves `..` in a name, so such a class would overwrite the accuracy over all classes."""
    counts = Counts(1.0, torch.tensor([[1, 0], [1, 0]]))
    metrics = counts_metrics("val", counts, ("../accuracy", "../loss"))
    assert metrics["val/accuracy"] == 0.5
    assert {posixpath.normpath(name) for name in metrics} == set(metrics)
