"""Rolls a registered model back to a version that was champion before."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.errors import GateRefusedError, UsageError
from pipeline.promote.carry_out import carry_out, finish_interrupted_decisions
from pipeline.promote.ledger import Ledger, LedgerEntry
from pipeline.promote.ledger_store import LedgerStore
from pipeline.promote.model_copy import copy_model
from pipeline.promote.new_decision import new_decision
from pipeline.promote.older_decisions import older_decisions
from pipeline.registry.versions import CHAMPION, PREVIOUS, aliases_of


def roll_back(
    client: MlflowClient, model_name: str, say: Callable[[str], None], to: int | None = None, reason: str | None = None
) -> LedgerEntry:
    """Gives the alias `champion` back to the previous champion, or to the version `to`.

    A second roll-back undoes the first. There may be no champion: MLflow removes the alias together with a version that
    is deleted.

    Only a version that has been champion is allowed; any other has to pass the gate. Its files must be those with which
    it became champion, by the digest in the ledger. Where the ledger has none, which may be so for a champion from
    before the ledger, the files only have to exist.

    Raises:
        UsageError: there is no such registered model or version, it has never been champion, or it is the champion.
        GateRefusedError: the version's files are missing or have changed.
        LostRaceError: another command has moved the champion in the meantime.
        PipelineError: the ledger is broken.
    """
    store = LedgerStore(client, model_name)
    ledger, finished = finish_interrupted_decisions(client, store, say)
    if finished is not None and finished.decision.event == "rollback" and to in (None, finished.decision.to_version):
        return finished  # this command repeats the killed one: a second roll-back would undo the first
    aliases = aliases_of(client, model_name)
    champion = aliases.get(CHAMPION)
    target = _target(client, model_name, champion, aliases.get(PREVIOUS), to)
    _refuse_never_champion(client, target, ledger)
    files = _checked_files(client, target, ledger)
    left = "rolled back: there was no champion" if champion is None else f"rolled back from version {champion}"
    decision = new_decision("rollback", target, champion, reason or left, files)
    entry = store.append(decision, ledger)
    carry_out(client, store, entry)
    return entry


def _target(
    client: MlflowClient, model_name: str, champion: int | None, previous: int | None, to: int | None
) -> ModelVersion:
    version = previous if to is None else to
    if to is None and version in (None, champion):
        raise UsageError(
            f"--rollback: {model_name} has no previous champion to go back to; give --to VERSION with one that was"
            " champion before"
        )
    if version == champion:
        raise UsageError(f"--to is {version}, but that is the champion already")
    try:
        return client.get_model_version(model_name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UsageError(f"--to is {version}, but {model_name} has no such version") from error


def _refuse_never_champion(client: MlflowClient, target: ModelVersion, ledger: Ledger) -> None:
    number = int(target.version)
    moves = [each.decision for each in ledger.entries if each.decision.moves_champion]
    by_ledger = any(
        each.from_version == number or (each.to_version == number and each.to_source == target.source) for each in moves
    )
    older = older_decisions(client, str(target.name))
    if by_ledger or any(number in (each.version, each.replaced) for each in older if each.event != "refused"):
        return
    raise UsageError(
        f"--rollback to version {number}: {target.name} never had it as champion, so it has to pass the gate: give it"
        " the alias challenger, and promote it"
    )


def _checked_files(client: MlflowClient, target: ModelVersion, ledger: Ledger) -> str:
    """Returns the digest of the version's files. Raises GateRefusedError where the ledger has another digest."""
    with tempfile.TemporaryDirectory(prefix="vit-rollback-") as folder:
        found = copy_model(client, target, Path(folder)).digest
    recorded = ledger.files_of(int(target.version))
    if recorded is not None and found != recorded:
        raise GateRefusedError(
            f"version {target.version} of {target.name} is not what it was as champion: the digest of its files is"
            f" {found}, but the ledger has {recorded}"
        )
    return found
