"""Making a decision true: the aliases of the registered model follow the ledger.

The order of writes: the entry in the ledger (it decides, and only one of two can write it), the alias `previous`, the
alias `champion`, taking the alias `challenger` away, the mark. A command that is killed before the entry has changed
nothing; one that is killed after it leaves an entry beyond the mark, by which the next command carries it out: each
step may be done twice. There is a champion all the while. Aliases that somebody moves by hand are left alone.
"""

from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.promote.ledger import Decision, Ledger, LedgerEntry, key_of
from pipeline.promote.ledger_store import LedgerStore
from pipeline.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, aliases_of


def carry_out(client: MlflowClient, store: LedgerStore, entry: LedgerEntry) -> None:
    """Gives the aliases to whom the entry says, and moves the mark.

    What others have added in the meantime is carried out after it: of two commands at once, whichever writes its
    aliases last, they end as the ledger's last entry has them.
    """
    newer: tuple[LedgerEntry, ...] = (entry,)
    while newer:
        moved = [each.decision for each in newer if each.decision.moves_champion]
        if moved:
            _move_aliases(client, moved[-1])
        store.mark(newer[-1])
        newer = store.read_whole().entries[newer[-1].number :]


def settle(client: MlflowClient, store: LedgerStore, say: Callable[[str], None]) -> tuple[Ledger, LedgerEntry | None]:
    """Carries out what killed commands have decided and left, and says so.

    Gives the ledger as it is then, to be read before the aliases: who moves them later has to add to it. And the entry,
    if any, that has moved the champion just now.

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
        say(f"{_cut_off(moved)} and is carried out now: version {moved.decision.to_version} is the champion")
        return moved
    store.mark(left[-1])
    if moved is not None:
        gone = f"version {moved.decision.to_version} is gone"
        say(f"{_cut_off(moved)} and cannot be carried out any more, since {gone}; the champion stays as it is")
    return None


def _cut_off(entry: LedgerEntry) -> str:
    return f"entry {key_of(entry.number)} of the ledger ({entry.decision.event}, by {entry.decision.who}) was cut off"


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
    if aliases_of(client, model).get(CHALLENGER) == to:  # else a sweep has registered another meanwhile
        client.delete_registered_model_alias(model, CHALLENGER)
