"""Carries out the decisions in the ledger: moves the registered model's aliases as the entries say.

The writes come in this order: the entry in the ledger (it is what decides, and only one of two commands that run at the
same time can write it), the alias `previous`, the alias `champion`, the removal of the alias `challenger`, the mark. A
command that is killed before it has written the entry has changed nothing. One that is killed after that leaves an
entry beyond the mark, and the next command carries it out; this is safe, since each step may be done twice. The model
is never without a champion in between. Aliases that somebody moves by hand are left alone.
"""

from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.promote.ledger import Decision, Ledger, LedgerEntry, key_of
from pipeline.promote.ledger_store import LedgerStore
from pipeline.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, aliases_of


def carry_out(client: MlflowClient, store: LedgerStore, entry: LedgerEntry) -> None:
    """Moves the aliases as the entry says, then moves the mark to this entry.

    Entries that other commands have added in the meantime are carried out after it. So when two commands run at the
    same time, the aliases end as the ledger's last entry says, whichever of the two writes its aliases last.
    """
    newer: tuple[LedgerEntry, ...] = (entry,)
    while newer:
        moved = [each.decision for each in newer if each.decision.moves_champion]
        if moved:
            _move_aliases(client, moved[-1])
        store.mark(newer[-1])
        newer = store.read_whole().entries[newer[-1].number :]


def finish_interrupted_decisions(
    client: MlflowClient, store: LedgerStore, say: Callable[[str], None]
) -> tuple[Ledger, LedgerEntry | None]:
    """Carries out the decisions that killed commands have left in the ledger, and reports that through `say`.

    Returns:
        The ledger as it is then, and the entry, if any, that has just moved the champion. Call this before reading the
        aliases: a command that moves them later has to add an entry, by which the change is noticed.

    Raises:
        UsageError: there is no such registered model.
        PipelineError: somebody has tampered with the ledger.
    """
    finished = None
    while left := (ledger := store.read_whole()).not_carried_out:
        finished = _finish(client, store, left, say) or finished
    return ledger, finished


def _finish(
    client: MlflowClient, store: LedgerStore, left: tuple[LedgerEntry, ...], say: Callable[[str], None]
) -> LedgerEntry | None:
    moved = next((each for each in reversed(left) if each.decision.moves_champion), None)
    if moved is not None and _is_there(client, moved.decision):
        carry_out(client, store, moved)
        say(f"{_unfinished(moved)} and is completed now: version {moved.decision.to_version} is the champion")
        return moved
    store.mark(left[-1])
    if moved is not None:
        gone = f"version {moved.decision.to_version} is gone"
        say(f"{_unfinished(moved)} and cannot be any more, since {gone}; the champion stays as it is")
    return None


def _unfinished(entry: LedgerEntry) -> str:
    decision = entry.decision
    return f"entry {key_of(entry.number)} of the ledger ({decision.event}, by {decision.who}) was not fully carried out"


def _is_there(client: MlflowClient, decision: Decision) -> bool:
    try:
        return bool(client.get_model_version(decision.model, str(decision.to_version)).source == decision.to_source)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _move_aliases(client: MlflowClient, decision: Decision) -> None:
    model, to = decision.model, decision.to_version
    if decision.from_version is not None:
        client.set_registered_model_alias(model, PREVIOUS, str(decision.from_version))
    client.set_registered_model_alias(model, CHAMPION, str(to))
    if aliases_of(client, model).get(CHALLENGER) == to:  # otherwise a sweep has registered a newer challenger
        client.delete_registered_model_alias(model, CHALLENGER)
