"""The story of a promotion: who meets whom, the gate, the ledger, the aliases."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient

from pipeline.errors import GateRefusedError
from pipeline.promote.carry_out import carry_out, settle
from pipeline.promote.contenders import Contenders, find_contenders
from pipeline.promote.gate import GateResult, keep_with_version, pass_through_gate
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.ledger import Decision, Event, Ledger, LedgerEntry
from pipeline.promote.ledger_store import LedgerStore, LostRaceError
from pipeline.promote.new_decision import new_decision
from pipeline.promote.test_images import load_test_images
from pipeline.promote.verdict import Verdict
from pipeline.registry.versions import CHAMPION, aliases_of


@dataclass(frozen=True)
class Promotion:
    """What came of it."""

    verdict: Verdict
    entry: LedgerEntry | None
    """None where nothing was to be changed (`--dry-run`)."""
    gate_run_id: str

    def to_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        decided = None if self.entry is None else decision_of(self.entry)
        return {"gate": verdict.to_dict(), "gate_run_id": self.gate_run_id, "decision": decided}

    @property
    def refusal(self) -> str | None:
        """What to say where the challenger is not, or would not be, the champion."""
        if self.verdict.passes or (self.entry is not None and self.entry.decision.moves_champion):
            return None
        return (
            f"version {self.verdict.challenger.version} of {self.verdict.model} is not promoted: {self.verdict.reason}"
        )


def decision_of(entry: LedgerEntry) -> dict[str, Any]:
    """A decision for programs: of `--json` and `--notify`."""
    decision = entry.decision
    return {
        "event": decision.event,
        "model": decision.model,
        "version": decision.to_version,
        "replaced": decision.from_version if decision.moves_champion else None,
        "why": decision.why,
        "who": decision.who,
        "at": decision.at,
        "files": decision.to_files,
        "table": decision.table,
        "gate_run_id": decision.gate_run_id,
        "ledger": {"number": entry.number, "hash": entry.hash},
    }


def promote(
    client: MlflowClient,
    model_name: str,
    config: GateConfig,
    say: Callable[[str], None],
    dataset: str | None = None,
    force_reason: str | None = None,
    is_dry_run: bool = False,
) -> Promotion:
    """Makes the challenger the champion if the gate lets it through, or if it is forced, and writes down what happened.

    Args:
        client: of `pipeline.tracking.server.open_client`, whose URI is MLflow's global one.
        model_name: the registered model.
        config: the gate's limits.
        say: prints a line.
        dataset: what the user named, see `load_test_images`.
        force_reason: why it is to be champion even where rules fail; None does not force.
        is_dry_run: whether the gate's verdict is all that is wanted.

    Raises:
        UsageError: no such registered model, or the test images are not at hand.
        GateRefusedError: nobody to promote, or two that cannot be compared; nothing is written down.
        LostRaceError: another command has moved the champion meanwhile.
        PipelineError: the ledger is broken.
    """
    store = LedgerStore(client, model_name)
    ledger = store.read_whole() if is_dry_run else settle(client, store, say)[0]
    contenders = find_contenders(client, model_name)
    test = load_test_images(contenders.challenger, dataset, contenders.test_digest)
    found = pass_through_gate(client, contenders, test, config)
    if is_dry_run:
        return Promotion(found.verdict, None, found.run_id)
    keep_with_version(client, contenders, found.verdict)
    _refuse_changed_champion(found.verdict, ledger)
    store.refuse_overtaken(ledger)
    _refuse_moved_champion(client, contenders)
    event, why = _decide(found.verdict, force_reason)
    entry = store.append(_decision(event, why, contenders, found), ledger)
    carry_out(client, store, entry)
    return Promotion(found.verdict, entry, found.run_id)


def _decide(verdict: Verdict, force_reason: str | None) -> tuple[Event, str]:
    if verdict.passes:
        return "promoted", verdict.reason
    if force_reason is not None:
        return "forced", f"{force_reason} (in spite of {verdict.reason})"
    return "refused", verdict.reason


def _decision(event: Event, why: str, contenders: Contenders, found: GateResult) -> Decision:
    champion = found.verdict.champion
    return new_decision(
        event,
        contenders.challenger,
        contenders.champion_number,
        why,
        found.verdict.challenger.files,
        None if champion is None else champion.files,
        found.table,
        found.run_id,
    )


def _refuse_changed_champion(verdict: Verdict, ledger: Ledger) -> None:
    if verdict.champion is None:
        return
    recorded = ledger.files_of(verdict.champion.version)
    if recorded is not None and recorded != verdict.champion.files:
        raise GateRefusedError(
            f"the champion, version {verdict.champion.version} of {verdict.model}, is not what was promoted: the digest"
            f" of its files is {verdict.champion.files}, but the ledger has {recorded}: bring them back, --rollback, or"
            " remove its alias champion"
        )


def _refuse_moved_champion(client: MlflowClient, contenders: Contenders) -> None:
    """Somebody may have moved the alias by hand, which the ledger does not tell."""
    champion = aliases_of(client, str(contenders.challenger.name)).get(CHAMPION)
    if champion != contenders.champion_number:
        raise LostRaceError(
            f"the champion was moved meanwhile, from {_named(contenders.champion_number)} to {_named(champion)}:"
            " nothing was changed; decide anew"
        )


def _named(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
