"""Training chosen configurations to their full length with several seeds, through Ray Train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.confirmation import ConfirmedModel, FinalRun
from pipeline.ddp import SharedData, Team, TeamTraining, run_training
from pipeline.exits import InterruptedCommandError
from pipeline.jobs import Jobs
from pipeline.observers import Observer
from pipeline.ranking import BestEpoch, TrialRecord
from pipeline.sweep_session import SweepSession
from pipeline.training import TrainingContext, TrainingData
from pipeline.trial_runs import FinalistRuns
from tune_spaces.space import TrialSpec
from vit.precision import Precision


@dataclass(frozen=True)
class Candidate:
    """A configuration to train to its full length."""

    spec: TrialSpec
    search_accuracy: float | None


def train_finalists(
    session: SweepSession, candidates: Sequence[Candidate], data: TrainingData, precision: Precision, at_once: int
) -> list[ConfirmedModel]:
    """Trains each candidate once with each of the session's seeds; `at_once` trainings run side by side.

    Goes on from what an earlier command left. A training that fails or diverges is its model's error, not the others'.

    Raises:
        InterruptedCommandError: the user wants to stop; all epochs are saved.
        PipelineError: the disk is full.
    """
    trainings = [
        _FinalTraining(session, candidate, seed, data, precision)
        for seed in range(session.config.seeds)
        for candidate in candidates
    ]
    records = _run_all(session, trainings, at_once)
    session.artifacts.finish()
    if any(record.outcome == "interrupted" for record in records):
        raise InterruptedCommandError("interrupted: the finalists' epochs are saved")
    pairs = list(zip(trainings, records, strict=True))
    return [_model(candidate, [pair for pair in pairs if pair[0].candidate is candidate]) for candidate in candidates]


def _run_all(session: SweepSession, trainings: Sequence["_FinalTraining"], at_once: int) -> list[TrialRecord]:
    """The trainings' records, in their order."""
    jobs, records, failures = Jobs[TrialRecord](), dict[str, TrialRecord](), list[BaseException]()
    waiting, running = list(trainings), 0
    while waiting or running:
        while waiting and running < at_once:
            training = waiting.pop(0)
            jobs.start(training.name, training.run)
            running += 1
        name, end = jobs.next_end()
        running -= 1
        if isinstance(end, BaseException):
            failures.append(end)
            waiting.clear()
        else:
            records[name] = end
    if failures:
        raise failures[0]
    return [records[training.name] for training in trainings]


class _FinalTraining:
    """One candidate with one seed."""

    def __init__(
        self, session: SweepSession, candidate: Candidate, seed: int, data: TrainingData, precision: Precision
    ) -> None:
        self.session, self.candidate, self.seed, self._data, self._precision = session, candidate, seed, data, precision
        self.spec = replace(candidate.spec, seed=_training_seed(session.config.seed, seed))
        self.folder = f"{session.folder}/finalists/{seed}"
        self.runs = FinalistRuns(
            session.tracker, session.artifacts, self.folder, session.dataset_reference, session.dataset.class_names,
            seed,
        )  # fmt: skip
        self.name = self.runs.run_name(self.spec)

    def run(self) -> TrialRecord:
        session, allotment = self.session, self.session.final_allotment
        training = TeamTraining(
            self.spec,
            SharedData.put(self._data),
            TrainingContext(self.folder, self._precision, session.config.compile),
            Team(allotment.workers, allotment.workers, allotment.cpus, allotment.gpus),
            session.config.max_failures,
        )
        observers = [self.runs, _Line(session, self.name), session.watchdog]
        return run_training(training, observers, lambda: session.interrupt.requested)

    def outcome(self, record: TrialRecord) -> FinalRun:
        best = record.best
        assert best is not None  # what has finished has epochs
        kept = BestEpoch(best.number, best.accuracy, best.loss)
        run_id = self.session.tracker.run_id(self.runs.key(self.spec))
        return FinalRun(self.seed, kept, record.seconds, run_id, self.folder)


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
        else:
            self._say(f"{self._name} {record.outcome}: {record.error}")

    trial_restored = trial_ended

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self._say(f"warning: {self._name} goes on from an earlier checkpoint: {reason}")
