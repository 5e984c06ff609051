"""Keeps the ledger in MLflow, so that everybody who uses the tracking store sees the same ledger.

The ledger is a run of kind `ledger` in the model's experiment, and each entry is a parameter of that run. A parameter's
value can be written only once: the database itself refuses another value under the same key. So nothing is overwritten,
and of two commands that write an entry of the same number, one gets an error. A tag of the experiment `<model>.ledger`,
which holds nothing else, names the run: creating an experiment with its tags is one transaction, in which only one
process succeeds.
"""

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from pipeline.errors import PipelineError
from pipeline.promote.ledger import Decision, Ledger, LedgerEntry, Mark, key_of, next_entry, read_ledger
from pipeline.registry.versions import find_model
from pipeline.tracking.run_writer import LONGEST_PARAM

MARK_TAG = "pipeline.ledger_mark"
"""The tag of the registered model that holds the mark."""
_RUN_TAG = "pipeline.ledger_run"


class LostRaceError(PipelineError):
    """The champion was moved in the meantime, by another command or by hand."""


class LedgerStore:
    """The ledger of one registered model."""

    def __init__(self, client: MlflowClient, model_name: str) -> None:
        self._client = client
        self._model_name = model_name
        self.experiment = f"{model_name}.ledger"
        """Not the experiment of any data set, since no data set's name contains a dot."""

    def read(self) -> Ledger:
        """Reads and checks the ledger, which is empty at first. Raises UsageError where there is no such model."""
        # The mark is read first: an entry that is added in between then counts as not carried out yet, not as removed.
        mark = find_model(self._client, self._model_name).tags.get(MARK_TAG)
        run_id = self._find_run_id()
        if run_id is None:
            return read_ledger({}, mark)
        try:
            entries = self._client.get_run(run_id).data.params
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return Ledger((), (f"its run {run_id} is gone",), None)
        return read_ledger(entries, mark)

    def read_whole(self) -> Ledger:
        """Reads the ledger for a command that is about to add to it, and raises an error where it is broken.

        Raises:
            UsageError: there is no such registered model.
            PipelineError: somebody has tampered with the ledger.
        """
        ledger = self.read()
        if ledger.faults:
            raise PipelineError(f"{self.broken_message(ledger)}; nothing is decided over a broken ledger")
        return ledger

    def broken_message(self, ledger: Ledger) -> str:
        """Returns the message for a ledger that has faults."""
        return (
            f"THE LEDGER OF {self._model_name} IS BROKEN: {'; '.join(ledger.faults)}. Bring the store's database back"
            f" from a backup; or, to begin a new ledger, rename the experiment {self.experiment} in MLflow and delete"
            f" the tag {MARK_TAG} of the registered model"
        )

    def append(self, decision: Decision, after: Ledger) -> LedgerEntry:
        """Adds a decision that was made on the basis of the ledger `after`; the decision is valid from then on.

        A refusal is added whatever other commands have written in the meantime.

        Raises:
            LostRaceError: another command has moved the champion in the meantime; nothing is added.
            PipelineError: the ledger was tampered with, or its run was deleted.
            MlflowException: the store fails.
        """
        run_id = self._open_run_id()
        while True:
            entry = next_entry(after, decision)
            error = self._write(run_id, entry)
            now = self.read_whole()
            newer = now.entries[entry.number - 1 :]
            if newer and newer[0] == entry:  # also where the write succeeded but its answer was lost
                return entry
            if error is not None and not newer:
                raise error
            if decision.moves_champion:
                self._refuse_overtaken(newer)
            after = now

    def refuse_overtaken(self, since: Ledger) -> None:
        """Raises LostRaceError where another command has moved the champion since the ledger `since` was read."""
        self._refuse_overtaken(self.read_whole().entries[len(since.entries) :])

    def _refuse_overtaken(self, newer: Sequence[LedgerEntry]) -> None:
        moved = next((each.decision for each in newer if each.decision.moves_champion), None)
        if moved is not None:
            raise LostRaceError(
                f"another command changed the champion in the meantime: {moved.who} made version {moved.to_version} of"
                f" {self._model_name} champion ({moved.event}); nothing was changed: look at --history, then try again"
            )

    def mark(self, entry: LedgerEntry) -> None:
        """Records on the registered model that all entries up to this one have been carried out."""
        mark = Mark(entry.number, entry.hash)
        self._client.set_registered_model_tag(self._model_name, MARK_TAG, mark.to_text())

    def _write(self, run_id: str, entry: LedgerEntry) -> MlflowException | None:
        text = entry.to_text()
        if len(text) > LONGEST_PARAM:  # MLflow would cut it off silently
            raise PipelineError(f"a ledger's entry has {len(text)} characters, but may have {LONGEST_PARAM}")
        try:
            self._client.log_param(run_id, key_of(entry.number), text)
        except MlflowException as error:
            return error
        return None

    def _find_run_id(self) -> str | None:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            return None
        if _RUN_TAG not in found.tags:
            raise PipelineError(f"the experiment {self.experiment} has lost its tag {_RUN_TAG}, which names the ledger")
        return str(found.tags[_RUN_TAG])

    def _open_run_id(self) -> str:
        run_id = self._find_run_id() or self._create()
        if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
            raise PipelineError(
                f"the ledger of {self._model_name}, run {run_id}, was deleted in MLflow: bring it back by"
                f" MlflowClient().restore_run({run_id!r})"
            )
        return run_id

    def _create(self) -> str:
        """Creates the run of the ledger and returns its id.

        If two processes do so at the same time, the one that creates the experiment first wins: the other deletes its
        own run, and both return the winner's.
        """
        home = self._client.get_experiment_by_name(self._model_name)
        if home is None or home.lifecycle_stage == "deleted":
            raise PipelineError(
                f"the experiment {self._model_name} is not there, or deleted, but has to hold the ledger: make it, or"
                " bring it back, in MLflow"
            )
        tags = {**resolve_tags(), "pipeline.kind": "ledger"}
        run = self._client.create_run(home.experiment_id, run_name=self.experiment, tags=tags)
        run_id = str(run.info.run_id)
        self._client.set_terminated(run_id, "FINISHED")
        pointer = {
            _RUN_TAG: run_id,
            "mlflow.note.content": f"The decisions about {self._model_name} are the parameters of run {run_id}.",
        }
        try:
            self._client.create_experiment(self.experiment, artifact_location=home.artifact_location, tags=pointer)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            self._client.delete_run(run_id)
        found = self._find_run_id()
        assert found is not None, "somebody has deleted it for good just now"
        return found
