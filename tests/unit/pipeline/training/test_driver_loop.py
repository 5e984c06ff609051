"""Tests what the driver does with a training that fails; a thread here stands in for Ray Train's workers."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ray.train.torch import TorchTrainer

from pipeline.tracking.events import DatasetReference
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.trial_runs import TrainRuns
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.instruction import Instruction, add_start
from pipeline.training.training import LoadedData, Training, TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.observers import Observer
from pipeline.trials.records import TrialRecord
from tests.unit.pipeline.tracking.test_trial_runs import Artifacts
from tests.unit.pipeline.training.test_training import DATA, MODEL, RECIPE
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import STATE_FILE, Folder
from vit.training.parallel import Workers
from vit.training.runtime import Runtime

SPEC = TrialSpec(0, MODEL, RECIPE, seed=1)


class Worker:
    """Trains as Ray Train's workers do, until `dies` raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dies: Callable[[int], None] = lambda epoch: None
        """Called with the number of each epoch that has ended."""
        self.trained: list[int] = []
        """The numbers of the epochs that it has trained."""
        monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: self._train(trainer.train_loop_config["group_folder"]))

    def _train(self, group_folder: str) -> None:
        instruction = Instruction.read(Folder(group_folder))
        assert instruction is not None
        add_start(Folder(group_folder))
        runtime = Runtime(precision="fp32")
        data = LoadedData.of(DATA, runtime.device)
        training = Training(instruction.spec, data, instruction.context, runtime, Workers())
        while not training.is_done:
            self.trained.append(training.run_epoch()["epoch"])
            self.dies(self.trained[-1])


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(monkeypatch)


def dying_with(error: Exception, epoch: int) -> Callable[[int], None]:
    def dies(ended: int) -> None:
        if ended == epoch:
            raise error

    return dies


def train(folder: Path, *observers: Observer) -> TrialRecord:
    context = TrainingContext(f"{folder}/trials", "fp32", compile=False)
    config = WorkerGroupConfig(1, 1, cpus=1, gpus=0, folder=f"{folder}/workers", max_failures=0)
    (record,) = run_trainings([Assignment(SPEC, context, observers)], SharedData(None), config, lambda: False)
    return record


def train_recorded(folder: Path) -> TrialRecord:
    """Trains and records the training's run, as `pipeline.train` does."""
    tracker = Tracker(f"sqlite:///{folder}/mlflow.db", "vit-x", "owner")
    with closing(Artifacts()) as artifacts, closing(tracker):
        data = DatasetReference("x", "sha256:0", "nowhere")
        record = train(folder, TrainRuns(tracker, artifacts, f"{folder}/trials", data, DATA.class_names, "train-x", {}))
    return record


@pytest.mark.slow
def test_the_next_command_goes_on_with_a_training_that_failed(worker: Worker, tmp_path: Path) -> None:
    worker.dies = dying_with(OSError("Input/output error"), epoch=1)
    failed = train_recorded(tmp_path)
    assert (failed.outcome, failed.error, len(failed.epochs)) == ("failed", "Input/output error", 1)
    assert (tmp_path / "trials" / "00000" / STATE_FILE).exists()
    record = train_recorded(tmp_path)
    assert worker.trained == [1, 2]
    assert (record.outcome, record.epochs[0]) == ("finished", failed.epochs[0])
    assert not (tmp_path / "trials" / "00000" / STATE_FILE).exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "MemoryError"), (AssertionError(" \n"), "AssertionError"), (OSError("first\n last \n\n"), "last")],
)
def test_an_error_is_told_by_its_last_line_or_by_its_kind(
    worker: Worker, tmp_path: Path, error: Exception, said: str
) -> None:
    worker.dies = dying_with(error, epoch=1)
    record = train(tmp_path)
    assert (record.outcome, record.error) == ("failed", said)
