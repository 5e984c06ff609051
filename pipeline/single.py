"""The story of `pipeline.train`: one training run, its record, and its way into the registry."""

from typing import Any

from pipeline.ddp import Assignment, SharedData, Team, run_trainings
from pipeline.evaluation import evaluate_on_test, record_test
from pipeline.exits import InterruptedCommandError, PipelineError
from pipeline.openings import record_opening
from pipeline.precision import precision_of
from pipeline.ranking import EpochRecord, TrialRecord
from pipeline.registry import Measured, register
from pipeline.train_session import TrainSession
from pipeline.trials.folder import trial_folder
from pipeline.trials.observers import Observer
from pipeline.trials.runs import trial_key
from pipeline.trials.training import TrainingContext, TrainingData
from pipeline.watchdog import Watchdog
from tune_spaces.space import TrialSpec
from vit.augment import measure_normalisation


def train_and_report(session: TrainSession) -> dict[str, Any]:
    """Trains to the end, or goes on from where an earlier command ended; gives the result as plain values."""
    record = _train(session)
    session.artifacts.finish()
    if record.outcome == "interrupted":
        raise InterruptedCommandError(f"interrupted: {len(record.epochs)} epochs are saved")
    best = record.best
    if record.outcome != "finished" or best is None:
        raise PipelineError(f"the training {record.outcome}: {record.error}")
    session.say(f"best: epoch {best.number}, validation {best.accuracy:.2%}")
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
        result |= session.remembered("registered") or _test_and_register(session, best)
        session.remember("registered", {name: result[name] for name in ("version", "test_accuracy", "test_correct")})
        session.say(
            f"registry: {session.model_name} version {result['version']}, test {result['test_accuracy']:.2%}"
            f" ({result['test_correct']} of {len(session.dataset.test)})"
        )
    return result


def _train(session: TrainSession) -> TrialRecord:
    config, data, spec, allotment = session.config, session.dataset, session.spec, session.allotment
    with Watchdog(config.stall_minutes, session.say):
        precision = precision_of(session, spec.model, spec.recipe, allotment)
    fewest, most = config.workers.fewest, config.workers.most
    session.say(
        f"train: {data.name}, {len(data.train)} images, {spec.recipe.epochs} epochs, batch {spec.recipe.batch_size} "
        f"over {fewest if fewest == most else f'{fewest} to {most}'} workers, {precision}"
    )
    shared = SharedData.put(
        TrainingData(data.train, data.validation, measure_normalisation(data.train.images), data.class_names)
    )
    context = TrainingContext(session.trials_folder, precision, config.compile)
    team = Team(fewest, most, allotment.cpus, allotment.gpus, session.folder, config.max_failures)
    with session.interrupt.deferred(), Watchdog(config.stall_minutes, session.say) as watchdog:
        assignment = Assignment(spec, context, [session.runs, _Lines(session), watchdog])
        (record,) = run_trainings([assignment], shared, team, lambda: session.interrupt.requested)
        return record


class _Lines(Observer):
    """A line for each epoch."""

    def __init__(self, session: TrainSession) -> None:
        self._session = session

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self._session.say(
            f"epoch {epoch.number}/{spec.recipe.epochs}: loss {epoch.metrics['train/loss']:.4f}, "
            f"validation {epoch.accuracy:.2%}, {epoch.metrics['images_per_second']:.0f} images/s"
        )

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self._session.say(f"warning: the training goes on from an earlier checkpoint: {reason}")


def _test_and_register(session: TrainSession, best: EpochRecord) -> dict[str, Any]:
    data, run_id = session.dataset, session.tracker.run_id(trial_key(0))
    record_opening(session.tracker, trial_key(0), data.test_digest)
    with Watchdog(session.config.stall_minutes, session.say):
        (test,) = evaluate_on_test([trial_folder(session.trials_folder, 0)], data.test, session.allotment)
    record_test(session, run_id, test, session.name)
    version = register(
        session.tracker.client,
        session.model_name,
        run_id,
        trial_folder(session.trials_folder, 0),
        data.validation.images[:2],
        Measured(data.test_digest, test.counts.correct, test.counts.total, best.accuracy),
        {"pipeline.dataset": data.name, "pipeline.data_digest": data.digest},
        f"training {session.name}: validation {best.accuracy:.2%}, test {test.counts.accuracy:.2%}"
        f" ({test.counts.correct} of {test.counts.total})",
    )
    session.artifacts.finish()
    return {"version": version, "test_accuracy": test.counts.accuracy, "test_correct": test.counts.correct}
