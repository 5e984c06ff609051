"""Runs trainings, from the driver, one after another on a worker group, and reports each epoch to observers."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import PipelineError, last_line, storage_failure
from pipeline.tracking.weights import weights_digest
from pipeline.training.distributed_training import Assignment, DistributedTraining
from pipeline.training.instruction import POLL_SECONDS
from pipeline.training.worker_group import SharedData, WorkerGroup, WorkerGroupConfig
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import FULL_LENGTH_RESUMABLE, EpochRecord, Outcome, TrialRecord


def run_trainings(
    assignments: Sequence[Assignment],
    data: SharedData,
    config: WorkerGroupConfig,
    interrupted: Callable[[], bool],
) -> list[TrialRecord]:
    """Runs trainings one after another on workers that are started once, and follows them on the driver.

    Resumes from what an earlier driver left. Once `interrupted()` is true, the workers stop at the end of their
    epoch, and no further training begins. A training that fails does not hold up the ones after it; the next driver
    retries it.

    Raises:
        PipelineError: the disk is full or the storage is away; what was saved is still there.
    """
    records: list[TrialRecord] = []
    workers = WorkerGroup(data, config)
    try:
        for assignment in assignments:
            ended = _ended_before(assignment)
            if ended is not None or interrupted():
                records.append(ended or TrialRecord(assignment.spec, "interrupted", ()))
                continue
            if not workers.is_sound:
                workers.stop()
                workers = WorkerGroup(data, config)
            records.append(_follow(assignment, workers, interrupted))
            if records[-1].outcome == "failed":
                workers.stop()
    finally:
        workers.stop(leaving=interrupted())
    return records


def _ledger(assignment: Assignment) -> Ledger:
    return Ledger(assignment.context.folder, [assignment.spec])


def _ended_before(assignment: Assignment) -> TrialRecord | None:
    """Returns a training that an earlier command brought to its end, and reports it to the observers; else None."""
    record = _ledger(assignment).ended.get(assignment.spec.index)
    if record is not None:
        for observer in assignment.observers:
            observer.trial_restored(record)
    return record


def _follow(assignment: Assignment, workers: WorkerGroup, interrupted: Callable[[], bool]) -> TrialRecord:
    """Follows a training to its end, and returns its record."""
    spec, observers, training = assignment.spec, assignment.observers, DistributedTraining(assignment, workers)
    ledger = _ledger(assignment)
    ledger.started(spec)
    for observer in observers:
        observer.trial_started(spec)
    digest: str | None = None
    try:
        epochs = list(_followed(training, observers, interrupted))
        outcome, error = _end_of(training, epochs)
        if outcome == "finished":
            digest = weights_digest(assignment.folder)  # taken now: later the weights may have been changed
    except Exception as reason:
        failure = storage_failure(reason)
        if failure is not None:
            raise PipelineError(failure) from reason
        epochs = [EpochRecord.of(entry) for entry in training.history.epochs]
        outcome, error = "failed", last_line(reason) or type(reason).__name__
    if outcome == "interrupted":
        workers.stop(leaving=True)  # its epochs must be written in full before its end is reported
    record = TrialRecord(spec, outcome, tuple(epochs), error, weights_digest=digest)
    if outcome not in FULL_LENGTH_RESUMABLE:
        ledger.end(record)
    for observer in observers:
        observer.trial_ended(record)
    return record


def _followed(
    training: DistributedTraining, observers: Sequence[Observer], interrupted: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """Yields the epochs in the folder as they come, those of earlier drivers too, and reports each to the observers."""
    training.permit(training.spec.recipe.epochs)
    refused: set[str] = set()
    stopping = trains = False
    while True:
        entry = training.next_epoch(POLL_SECONDS)
        if not trains and training.workers.starts > 0:
            trains = True
            for observer in observers:
                observer.workers_started(training.spec)
        if entry is None and training.is_over:
            return
        if interrupted() and not stopping:
            stopping = True
            training.workers.dismiss()
        if stopping and training.workers.starts == 0:
            return  # the workers may never start: the cluster may have no room
        if entry is None:
            continue
        new = set(training.history.refused) - refused
        for observer in observers:
            for reason in new:
                observer.checkpoint_refused(training.spec, reason)
            observer.epoch_done(training.spec, EpochRecord.of(entry))
        refused |= new
        yield EpochRecord.of(entry)


def _end_of(training: DistributedTraining, epochs: list[EpochRecord]) -> tuple[Outcome, str | None]:
    if training.history.diverged is not None:
        return "diverged", training.history.diverged
    return ("finished" if len(epochs) == training.spec.recipe.epochs else "interrupted"), None
