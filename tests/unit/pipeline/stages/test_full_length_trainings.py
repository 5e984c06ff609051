"""Tests that a full-length training keeps the weights with which it ended, even if its folder is damaged."""

from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import SweepConfig
from pipeline.errors import PipelineError
from pipeline.results.confirmation import ConfirmedModel, FullLengthRun
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.full_length_trainings import Configuration, train_to_full_length
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.tracking.weights import ARTIFACTS
from pipeline.training.training import TrainingData
from pipeline.trials.folder import LEDGER_FILE, trial_folder
from vit.data.dataset import DataConfig
from vit.data.normalisation import measure_normalisation
from vit.files.storage import WEIGHTS_FILE, Folder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


class Command:
    """Trains the published configuration with one seed for one epoch; given again, it resumes what is there."""

    def __init__(self, folder: Path) -> None:
        self.config = SweepConfig(
            data=DataConfig("digits", train_limit=40), storage=f"{folder}/sweeps", max_epochs=1, seeds=1,
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
        )  # fmt: skip

    def train(self) -> FullLengthRun:
        with open_session(SweepSession, self.config, Console()) as session:
            session.memory.remember("finished", False)
            session.tracker.start_run(SWEEP_RUN, session.name)
            images = session.dataset.train
            data = TrainingData(
                images, session.dataset.validation, measure_normalisation(images.images), session.dataset.class_names
            )
            models = train_to_full_length(
                session, [Configuration(session.specs[0], None)], session.share(data), "fp32", 1
            )
            session.tracker.close()
        return _only_run(models)

    def weights(self, run: FullLengthRun) -> bytes:
        """Returns the weights that `evaluate` and `register` get."""
        with open_session(SweepSession, self.config, Console()) as session:
            try:
                return session.find_weights(0, run).read(WEIGHTS_FILE)
            finally:
                session.tracker.close()

    def artifact(self, run: FullLengthRun) -> Path:
        """Returns the path at which MLflow keeps the weights."""
        with open_session(SweepSession, self.config, Console()) as session:
            uri = session.tracker.client.get_run(run.run_id).info.artifact_uri
            session.tracker.close()
        return Path(str(uri).removeprefix("file://"), ARTIFACTS, WEIGHTS_FILE)


def _only_run(models: list[ConfirmedModel]) -> FullLengthRun:
    ((run,),) = (model.runs for model in models)
    return run


def test_weights_that_are_cut_or_lost_after_the_training_are_taken_from_mlflow(tmp_path: Path) -> None:
    command = Command(tmp_path)
    trained = command.train()
    folder = trial_folder(trained.folder, 0)
    file = Path(folder.uri, WEIGHTS_FILE)
    whole = file.read_bytes()
    assert command.weights(trained) == whole

    file.write_bytes(whole[:-100])
    assert command.train() == trained  # including the digest of the undamaged weights
    assert command.weights(trained) == whole

    file.unlink()
    assert command.train() == trained
    assert command.weights(trained) == whole

    file.write_bytes(whole[:-100])
    command.artifact(trained).write_bytes(whole[:-100])
    with pytest.raises(PipelineError, match=f"delete the run in MLflow, remove {folder.uri}, and give the same"):
        command.weights(trained)
    _as_the_message_says(command, trained, folder)
    again = command.train()
    assert again.run_id != trained.run_id
    assert len(command.weights(again)) == len(whole)


def _as_the_message_says(command: Command, run: FullLengthRun, folder: Folder) -> None:
    with open_session(SweepSession, command.config, Console()) as session:
        session.tracker.client.delete_run(run.run_id)
        session.tracker.close()
    assert folder.exists(LEDGER_FILE)
    parent, _, name = folder.uri.rpartition("/")
    Folder(parent).remove_folder(name)
