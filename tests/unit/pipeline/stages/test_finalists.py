"""What a stage makes of a training to its full length that has ended."""

import re

import pytest

from pipeline.errors import PipelineError
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.finalists import Candidate, _FinalTraining
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.tracking.weights import weights_digest
from pipeline.trials.folder import trial_folder
from pipeline.trials.records import EpochRecord, TrialRecord
from vit.files.storage import CONFIG_FILE, WEIGHTS_FILE


@pytest.mark.parametrize("lost", [WEIGHTS_FILE, CONFIG_FILE])
def test_an_ended_training_whose_weights_are_gone_is_an_error_that_says_what_to_do(
    session: SweepSession, lost: str
) -> None:
    """It is asked for them again where the training of another seed has to run."""
    training = _FinalTraining(session, Candidate(session.specs[1], 0.5), 0, "fp32", ())
    folder = trial_folder(training.folder, 1)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        folder.write(name, name.encode())
    session.tracker.start_run(SWEEP_RUN, "sweep")
    training.runs.trial_started(training.spec)
    session.tracker.flush()
    epoch = EpochRecord(1, {"val/accuracy": 0.5, "val/loss": 1.0, "epoch_seconds": 1.0})
    record = TrialRecord(training.spec, "finished", (epoch,))
    assert training.outcome(record).weights_digest == weights_digest(folder)
    folder.remove(lost)
    message = (
        f"{folder.uri} has lost its weights, and its training has ended: remove the folder, and trial-01-seed-0 is"
    )
    with pytest.raises(PipelineError, match=f"^{re.escape(message)} trained again$"):
        training.outcome(record)
