"""The steps of `pipeline.train`: one training run, its record, and the registration of its model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from pipeline.cluster.watchdog import Watchdog
from pipeline.errors import InterruptedCommandError, PipelineError
from pipeline.graph.jobs import Jobs
from pipeline.registry.model_files import lost_version
from pipeline.registry.passport import Origin
from pipeline.registry.registration import register
from pipeline.results.confirmation import FullLengthRun, TestScore
from pipeline.session.passport import make_passport
from pipeline.session.train_session import TrainSession
from pipeline.tracking.test_set_reads import TEST_SET_READ_TAG, record_test_set_read
from pipeline.tracking.trial_runs import trial_key
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.evaluation import evaluate_on_test, record_test
from pipeline.training.training import TrainingContext, TrainingData
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.data.normalisation import measure_normalisation
from vit.files.storage import Folder


def train_and_report(session: TrainSession) -> dict[str, Any]:
    """Trains to the end, resuming where an earlier command stopped; returns the result as plain values."""
    record, best = train_to_the_end(session)
    result: dict[str, Any] = {
        "name": session.name,
        "run_id": session.tracker.run_id(trial_key(0)),
        "folder": session.folder,
        "epochs": len(record.epochs),
        "best_epoch": best.number,
        "val_accuracy": best.accuracy,
        "training_seconds": record.seconds,
    }
    if session.config.register:
        result |= _registered(session, record)
        session.say(
            f"registry: {session.model_name} version {result['version']}, test {result['test_accuracy']:.2%}"
            f" ({result['test_correct']} of {len(session.dataset.test)})"
        )
        if "test_accuracy_tta_flip" in result:
            session.say(f"with each image's mirror image, test {result['test_accuracy_tta_flip']:.2%}")
    return result


def train_to_the_end(session: TrainSession) -> tuple[TrialRecord, EpochRecord]:
    """Trains to the end and records it; returns the record of the training, and its best epoch.

    Raises:
        InterruptedCommandError: the user wants to stop; all epochs are saved.
        PipelineError: the training failed, or diverged.
    """
    record = _train(session)
    session.artifacts.finish()
    if record.outcome == "interrupted":
        raise InterruptedCommandError(f"interrupted: {len(record.epochs)} epochs are saved")
    best = record.best
    if record.outcome != "finished" or best is None:
        raise PipelineError(f"the training {record.outcome}: {record.error}")
    session.say(f"best: epoch {best.number}, validation {best.accuracy:.2%}")
    return record, best


def _train(session: TrainSession) -> TrialRecord:
    config, data, spec, allotment = session.config, session.dataset, session.spec, session.allotment
    precision = session.precision
    fewest, most = config.workers.fewest, config.workers.most
    session.say(
        f"train: {data.name}, {len(data.train)} images, {spec.recipe.epochs} epochs, batch {spec.recipe.batch_size} "
        f"over {fewest if fewest == most else f'{fewest} to {most}'} workers, {precision}"
    )
    shared = SharedData.put(
        TrainingData(data.train, data.validation, measure_normalisation(data.train.images), data.class_names)
    )
    context = TrainingContext(session.trials_folder, precision, config.compile)
    group = WorkerGroupConfig(
        fewest, most, allotment.cpus, allotment.gpus, session.ray_train_folder, config.max_failures
    )
    # The training runs in another thread: in this one, a user who wants to stop immediately (by a second Ctrl-C) would
    # have to wait until the workers have shut down in an orderly way.
    jobs = Jobs[list[TrialRecord]]()
    with session.interrupt.deferred(), Watchdog(config.stall_minutes, session.say) as watchdog:
        done_before = len(TrialHistory.read(trial_folder(session.trials_folder, spec.index)).epochs)
        assignment = Assignment(spec, context, [session.runs, _PrintsEpochs(session, done_before), watchdog])
        jobs.start("training", lambda: run_trainings([assignment], shared, group, lambda: session.interrupt.requested))
        _, ended = jobs.next_end()
    if isinstance(ended, BaseException):
        raise ended
    (record,) = ended
    return record


class _PrintsEpochs(Observer):
    """Prints a line for each epoch, but only one line for all epochs that earlier commands have done."""

    def __init__(self, session: TrainSession, done_before: int) -> None:
        self._session, self._done_before = session, done_before

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        if epoch.number < self._done_before:
            return
        line = f"epoch {epoch.number}/{spec.recipe.epochs}: loss {epoch.metrics['train/loss']:.4f}, "
        line += f"validation {epoch.accuracy:.2%}, {epoch.metrics['images_per_second']:.0f} images/s"
        self._session.say(f"resuming after {line}" if epoch.number == self._done_before else line)

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self._session.say(f"warning: the training resumes from an earlier checkpoint: {reason}")


def _registered(session: TrainSession, record: TrialRecord) -> dict[str, Any]:
    """Returns what an earlier command registered, if that suffices and still exists; else tests and registers now."""
    config, run_id = session.config, session.tracker.run_id(trial_key(0))
    known: dict[str, Any] = session.memory.remembered("registered") or {}
    lacks_mirror = config.tta == "flip" and "test_accuracy_tta_flip" not in known
    lacks_export = config.export not in ("none", known.get("export"))
    client = session.tracker.client
    if not known or lacks_mirror or lacks_export or lost_version(client, session.model_name, known["version"], run_id):
        known = _test_and_register(session, FullLengthRun.of(record, session.spec.seed, run_id, session.trials_folder))
        session.memory.remember("registered", known)
    return known


def _test_and_register(session: TrainSession, run: FullLengthRun) -> dict[str, Any]:
    weights, export = session.find_weights(0, run), session.config.export
    score = _known_score(session, run.run_id) or _measured_score(session, run.run_id, weights)
    origin = Origin(session.command_line, run.run_id)
    passport = make_passport(session, origin, session.spec, session.precision, run, score)
    images = session.dataset.validation.images[:2]
    version = register(session.tracker.client, passport, weights, images, export == "onnx")
    tta = {} if score.tta_accuracy is None else {"test_accuracy_tta_flip": score.tta_accuracy}
    figures = {"test_accuracy": score.accuracy, "test_correct": score.correct, **tta}
    return {"version": version, "export": export, **figures}


def _known_score(session: TrainSession, run_id: str) -> TestScore | None:
    """Returns the test score of this run from an earlier command.

    Returns None if there is none, or if it lacks the accuracy with mirror images that this command asks for.
    """
    known: dict[str, Any] = session.memory.remembered("tested") or {}
    if known.get("run_id") != run_id:
        return None
    score = TypeAdapter(TestScore).validate_python(known["score"])
    return None if session.config.tta == "flip" and score.tta_correct is None else score


def _measured_score(session: TrainSession, run_id: str, weights: Folder) -> TestScore:
    data, with_mirror = session.dataset, session.config.tta == "flip"
    with _counted_as_read(session, run_id), Watchdog(session.config.stall_minutes, session.say):
        (test,) = evaluate_on_test([weights], data.test, session.allotment, with_mirror)
    record_test(session.tracker, session.artifacts, data, run_id, test, session.name)
    session.artifacts.finish()  # what is remembered below is not tested again, so the run must have its files by then
    session.tracker.flush()
    counts = test.counts
    score = TestScore(counts.correct, counts.total, tuple(counts.class_accuracy), test.tta_correct)
    session.memory.remember("tested", {"run_id": run_id, "score": asdict(score)})
    return score


@contextmanager
def _counted_as_read(session: TrainSession, run_id: str) -> Iterator[None]:
    """Records, before the block runs, that the training's run reads the test images.

    The reads of a test set are counted by their runs, so a second read gets a run of its own.
    """
    tracker, key = session.tracker, trial_key(0)
    if TEST_SET_READ_TAG in tracker.client.get_run(run_id).data.tags:
        key = f"test with --tta {session.config.tta}"
        tracker.start_run(key, f"{session.name} on the test images", trial_key(0), {"pipeline.kind": "test"})
    record_test_set_read(tracker, key, session.dataset.test_digest)
    yield
    if key != trial_key(0):
        tracker.end_run(key, "FINISHED")
