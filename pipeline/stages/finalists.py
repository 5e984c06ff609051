"""Training chosen configurations to their full length with several seeds, through Ray Train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.errors import InterruptedCommandError, PipelineError
from pipeline.graph.jobs import Jobs
from pipeline.results.confirmation import ConfirmedModel, FinalRun
from pipeline.session.folder import FINALISTS_FOLDER
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import FinalistRuns
from pipeline.tracking.weights import weights_digest
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.folder import trial_folder
from pipeline.trials.observers import Observer
from pipeline.trials.records import BestEpoch, TrialRecord
from tune_spaces.space import TrialSpec
from vit.training.precision import Precision


@dataclass(frozen=True)
class Candidate:
    """A configuration to train to its full length."""

    spec: TrialSpec
    search_accuracy: float | None


def train_finalists(
    session: SweepSession,
    candidates: Sequence[Candidate],
    data: SharedData,
    precision: Precision,
    at_once: int,
    observers: Sequence[Observer] = (),
) -> list[ConfirmedModel]:
    """Trains each candidate once with each of the session's seeds; `at_once` trainings run side by side.

    `observers` hear of all of them. Goes on from what an earlier command left. A training that fails or diverges is its
    model's error, not the others'.

    Raises:
        InterruptedCommandError: the user wants to stop; all epochs are saved.
        PipelineError: the disk is full.
    """
    trainings = [
        _FinalTraining(session, candidate, seed, precision, observers)
        for candidate in candidates
        for seed in range(session.config.seeds)
    ]
    records = _run_all(session, trainings, data, at_once)
    session.artifacts.finish()
    if any(record.outcome == "interrupted" for record in records):
        raise InterruptedCommandError("interrupted: the finalists' epochs are saved")
    pairs = list(zip(trainings, records, strict=True))
    return [_model(candidate, [pair for pair in pairs if pair[0].candidate is candidate]) for candidate in candidates]


def _run_all(
    session: SweepSession, trainings: Sequence["_FinalTraining"], data: SharedData, at_once: int
) -> list[TrialRecord]:
    """The trainings' records, in their order. Workers take seconds to start, so a slot keeps its own to the end."""
    jobs, ends = Jobs[list[TrialRecord]](), dict[str, list[TrialRecord]]()
    slots = {str(slot): trainings[slot::at_once] for slot in range(min(at_once, len(trainings)))}
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


def _run_in_turn(session: SweepSession, trainings: Sequence["_FinalTraining"], data: SharedData) -> list[TrialRecord]:
    allotment = session.final_allotment
    count = allotment.workers
    group = WorkerGroupConfig(
        count, count, allotment.cpus, allotment.gpus, session.ray_train_folder, session.config.max_failures
    )
    assignments = [training.assignment for training in trainings]
    return run_trainings(assignments, data, group, lambda: session.interrupt.requested)


class _FinalTraining:
    """One candidate with one seed."""

    def __init__(
        self,
        session: SweepSession,
        candidate: Candidate,
        seed: int,
        precision: Precision,
        observers: Sequence[Observer],
    ) -> None:
        self.session, self.candidate, self.seed = session, candidate, seed
        self.spec = replace(candidate.spec, seed=_training_seed(session.config.seed, seed))
        self.folder = f"{session.folder}/{FINALISTS_FOLDER}/{seed}"
        self.runs = FinalistRuns(
            session.tracker, session.artifacts, self.folder, session.dataset_reference, session.dataset.class_names,
            seed,
        )  # fmt: skip
        self.name = self.runs.run_name(self.spec)
        context = TrainingContext(self.folder, precision, session.config.compile)
        self.assignment = Assignment(
            self.spec, context, [self.runs, _Line(session, self.name), session.watchdog, *observers]
        )

    def outcome(self, record: TrialRecord) -> FinalRun:
        best = record.best
        assert best is not None  # what has finished has epochs
        kept = BestEpoch(best.number, best.accuracy, best.loss)
        run_id = self.session.tracker.run_id(self.runs.key(self.spec))
        return FinalRun(self.seed, kept, record.seconds, run_id, self.folder, self._weights_digest())

    def _weights_digest(self) -> str:
        folder = trial_folder(self.folder, self.spec.index)
        try:
            return weights_digest(folder)
        except FileNotFoundError as error:
            raise PipelineError(
                f"{folder.uri} has lost its weights, and its training has ended: remove the folder, and {self.name} is "
                "trained again"
            ) from error


def _training_seed(seed: int, number: int) -> int:
    # The last word of the key keeps it apart from what a search draws; the same for all models, so that they compare.
    return int(np.random.default_rng((seed, number, 2)).integers(2**31))


def _model(candidate: Candidate, ended: list[tuple[_FinalTraining, TrialRecord]]) -> ConfirmedModel:
    runs = [training.outcome(record) for training, record in ended if record.outcome == "finished"]
    errors = [
        f"{training.name} {record.outcome}: {record.error}"
        for training, record in ended
        if record.outcome != "finished"
    ]
    return ConfirmedModel(candidate.spec, candidate.search_accuracy, tuple(runs), "; ".join(errors) or None)


class _Line(Observer):
    """A line when it is over."""

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
        self._say(f"warning: {self._name} goes on from an earlier checkpoint: {reason}")
