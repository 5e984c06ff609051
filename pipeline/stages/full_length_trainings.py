"""Trains chosen configurations to their full length with several seeds, using Ray Train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.errors import InterruptedCommandError
from pipeline.graph.jobs import Jobs
from pipeline.planning.slots import trainings_of_slots
from pipeline.results.confirmation import ConfirmedModel, FullLengthRun
from pipeline.session.folder import FINALISTS_FOLDER
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import FinalistRuns
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.observers import Observer
from pipeline.trials.records import TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.training.precision import Precision


@dataclass(frozen=True)
class Configuration:
    """A configuration to train to its full length."""

    spec: TrialSpec
    search_accuracy: float | None


def train_to_full_length(
    session: SweepSession,
    configurations: Sequence[Configuration],
    data: SharedData,
    precision: Precision,
    at_once: int,
    observers: Sequence[Observer] = (),
) -> list[ConfirmedModel]:
    """Trains each configuration once with each of the session's seeds; `at_once` trainings run at the same time.

    `observers` are notified of all of them. Resumes what an earlier command left. A training that fails or diverges is
    recorded as an error of its model, and does not affect the others.

    Raises:
        InterruptedCommandError: the user wants to stop; all epochs are saved.
        PipelineError: the disk is full or the storage is away.
    """
    trainings = [
        _FullLengthTraining(session, configuration, seed, precision, observers)
        for configuration in configurations
        for seed in range(session.config.seeds)
    ]
    records = _run_all(session, trainings, data, at_once)
    session.artifacts.finish()
    if any(record.outcome == "interrupted" for record in records):
        raise InterruptedCommandError("interrupted: the epochs of the trainings are saved")
    pairs = list(zip(trainings, records, strict=True))
    return [
        _model(configuration, [pair for pair in pairs if pair[0].configuration is configuration])
        for configuration in configurations
    ]


def _run_all(
    session: SweepSession, trainings: Sequence["_FullLengthTraining"], data: SharedData, at_once: int
) -> list[TrialRecord]:
    """Runs the trainings; returns their records, in the same order.

    Workers take seconds to start, so each slot keeps its own for all of its trainings.
    """
    jobs, ends = Jobs[list[TrialRecord]](), dict[str, list[TrialRecord]]()
    slots = {str(slot): dealt for slot, dealt in enumerate(trainings_of_slots(trainings, at_once))}
    for slot, its_trainings in slots.items():
        jobs.start(slot, partial(_run_in_turn, session, its_trainings, data))
    failures = []
    for _ in slots:
        slot, end = jobs.next_end()
        if isinstance(end, BaseException):
            failures.append(end)
        else:
            ends[slot] = end
    if failures:
        raise failures[0]
    records = {
        training.name: record
        for slot, its_trainings in slots.items()
        for training, record in zip(its_trainings, ends[slot], strict=True)
    }
    return [records[training.name] for training in trainings]


def _run_in_turn(
    session: SweepSession, trainings: Sequence["_FullLengthTraining"], data: SharedData
) -> list[TrialRecord]:
    allotment = session.final_allotment
    count = allotment.workers
    group = WorkerGroupConfig(
        count, count, allotment.cpus, allotment.gpus, session.ray_train_folder, session.config.max_failures
    )
    assignments = [training.assignment for training in trainings]
    return run_trainings(assignments, data, group, lambda: session.interrupt.requested)


class _FullLengthTraining:
    """The training of one configuration with one seed."""

    def __init__(
        self,
        session: SweepSession,
        configuration: Configuration,
        seed: int,
        precision: Precision,
        observers: Sequence[Observer],
    ) -> None:
        self.session, self.configuration, self.seed = session, configuration, seed
        self.spec = spec_with_seed(configuration.spec, session.config.seed, seed)
        self.folder = f"{session.trainings_folder(FINALISTS_FOLDER)}/{seed}"
        self.runs = FinalistRuns(
            session.tracker, session.artifacts, self.folder, session.dataset_reference, session.dataset.class_names,
            seed,
        )  # fmt: skip
        self.name = self.runs.run_name(self.spec)
        context = TrainingContext(self.folder, precision, session.config.compile)
        self.assignment = Assignment(
            self.spec, context, [self.runs, _PrintsResult(session, self.name), session.watchdog, *observers]
        )

    def outcome(self, record: TrialRecord) -> FullLengthRun:
        run_id = self.session.tracker.run_id(self.runs.key(self.spec))
        return FullLengthRun.of(record, self.seed, run_id, self.folder)


def spec_with_seed(spec: TrialSpec, sweep_seed: int, number: int) -> TrialSpec:
    """The configuration with the seed of its full-length training number `number`, counted from 0."""
    # The 2 in the key keeps these seeds apart from those of a search's trainings. They do not depend on the
    # configuration, so that all models are trained with the same seeds and can be compared.
    return replace(spec, seed=int(np.random.default_rng((sweep_seed, number, 2)).integers(2**31)))


def _model(configuration: Configuration, ended: list[tuple[_FullLengthTraining, TrialRecord]]) -> ConfirmedModel:
    runs = [training.outcome(record) for training, record in ended if record.outcome == "finished"]
    errors = [
        f"{training.name} {record.outcome}: {record.error}"
        for training, record in ended
        if record.outcome != "finished"
    ]
    has_failed = any(record.outcome == "failed" for _, record in ended)
    error = "; ".join(errors) or None
    return ConfirmedModel(configuration.spec, configuration.search_accuracy, tuple(runs), error, has_failed)


class _PrintsResult(Observer):
    """Prints a line when the training has ended, and a warning when it cannot read a checkpoint."""

    def __init__(self, session: SweepSession, name: str) -> None:
        self._say, self._name = session.say, name

    def trial_ended(self, record: TrialRecord) -> None:
        best = record.best
        if record.outcome == "finished" and best is not None:
            self._say(f"{self._name}: validation {best.accuracy:.2%} at epoch {best.number} of {len(record.epochs)}")
        elif record.outcome == "interrupted":
            self._say(f"{self._name}: interrupted, {len(record.epochs)} epochs are saved")
        else:
            self._say(f"{self._name} {record.outcome}: {record.error}")

    trial_restored = trial_ended

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self._say(f"warning: {self._name} resumes from an earlier checkpoint: {reason}")
