"""Stores the driver's decisions on disk before they take effect, so that a new driver can resume from them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import cast

from pipeline.errors import PipelineError
from pipeline.trials.folder import TrialHistory, TrialLedger, trial_folder
from pipeline.trials.records import RESUMABLE, EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import CONCURRENT_READS


class Ledger:
    """The decisions on a search's trials and how the trials ended, each stored in the trial's own folder."""

    def __init__(self, trials_folder: str, specs: list[TrialSpec], fixed: bool = True) -> None:
        """Reads what an earlier driver left.

        Args:
            trials_folder: path or URI of the folder that contains the trials' folders.
            specs: the search's trials.
            fixed: whether a trial that has been started must have the spec given here; if not, it keeps its own.

        Raises:
            PipelineError: a trial in the folder is not the one that would be run now, or a file of it is broken.
        """
        self._folder, self._fixed = trials_folder, fixed
        self.ended: dict[int, TrialRecord] = {}
        self._trials: dict[int, TrialLedger] = {}
        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            for spec, ledger in zip(specs, pool.map(self._read, specs), strict=True):
                if ledger is not None:
                    self._trials[spec.index] = ledger
            self.specs = {index: TrialSpec.from_dict(ledger.spec) for index, ledger in self._trials.items()}
            """The specs of the trials that have been started, by index."""
            ended = [self.specs[index] for index, ledger in sorted(self._trials.items()) if ledger.outcome]
            for record in pool.map(self._record, ended):
                self.ended[record.index] = record

    def _read(self, spec: TrialSpec) -> TrialLedger | None:
        folder = trial_folder(self._folder, spec.index)
        ledger = TrialLedger.read(folder)
        if self._fixed and ledger is not None and ledger.spec != spec.to_dict():
            raise PipelineError(
                f"{folder.uri} holds another trial {spec.index} than this search: name another --storage"
            )
        return ledger

    def _record(self, spec: TrialSpec) -> TrialRecord:
        ledger, history = self._trials[spec.index], TrialHistory.read_ended(trial_folder(self._folder, spec.index))
        epochs = tuple(EpochRecord.of(entry) for entry in history.epochs)
        outcome, decisions = cast(Outcome, ledger.outcome), self.decisions(spec.index)
        return TrialRecord(spec, outcome, epochs, ledger.error, decisions, ledger.weights_digest)

    def decisions(self, index: int) -> tuple[Decision, ...]:
        """ASHA's decisions on a trial, in order."""
        decided = self._trials[index].decisions if index in self._trials else []
        return tuple(Decision(**decision) for decision in decided)

    def saved_epochs(self, index: int) -> list[EpochRecord]:
        """The epochs that a started trial has saved in its folder, in order; the driver may not have heard of all."""
        return [EpochRecord.of(entry) for entry in TrialHistory.read(trial_folder(self._folder, index)).epochs]

    @property
    def begun(self) -> list[int]:
        """The indices of the trials that have been started, sorted."""
        return sorted(self._trials)

    def started(self, spec: TrialSpec) -> None:
        if spec.index not in self._trials:
            self._trials[spec.index] = TrialLedger(spec.to_dict())
            self._write(spec.index)

    def decided(self, index: int, decision: Decision) -> None:
        self._trials[index].decisions.append(asdict(decision))
        self._write(index)

    def end(self, record: TrialRecord) -> None:
        """Records how a trial ended. Skips a trial with a resumable outcome, which the next driver resumes."""
        if record.outcome in RESUMABLE:
            return
        ledger = self._trials[record.index]
        ledger.outcome, ledger.error, ledger.weights_digest = record.outcome, record.error, record.weights_digest
        self._write(record.index)

    def _write(self, index: int) -> None:
        self._trials[index].write(trial_folder(self._folder, index))
