"""Promotes a challenger in all its steps: finding the two versions, the gate, the ledger, the aliases."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient

from pipeline.errors import GateRefusedError
from pipeline.promote.carry_out import carry_out, finish_interrupted_decisions
from pipeline.promote.contenders import Contenders, find_contenders
from pipeline.promote.gate import GateResult, keep_with_version, run_gate
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.ledger import Decision, Event, Ledger, LedgerEntry
from pipeline.promote.ledger_store import LedgerStore, LostRaceError
from pipeline.promote.new_decision import new_decision
from pipeline.promote.test_images import load_test_images
from pipeline.promote.verdict import Verdict
from pipeline.registry.versions import CHAMPION, aliases_of


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion, whether or not the challenger became champion."""

    verdict: Verdict
    entry: LedgerEntry | None
    """The entry that was added to the ledger; None for a dry run (`--dry-run`)."""
    gate_run_id: str

    def to_dict(self) -> dict[str, Any]:
        verdict = self.verdict
        decided = None if self.entry is None else decision_of(self.entry)
        return {"gate": verdict.to_dict(), "gate_run_id": self.gate_run_id, "decision": decided}

    @property
    def refusal(self) -> str | None:
        """The message where the challenger is not promoted, or in a dry run would not be; None otherwise."""
        if self.verdict.passes or (self.entry is not None and self.entry.decision.moves_champion):
            return None
        return (
            f"version {self.verdict.challenger.version} of {self.verdict.model} is not promoted: {self.verdict.reason}"
        )


def decision_of(entry: LedgerEntry) -> dict[str, Any]:
    """Returns a decision as `--json` writes it and `--notify` sends it."""
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
    """Makes the challenger the champion if the gate passes it or the user forces it, and records the decision.

    Args:
        client: a client from `pipeline.tracking.server.open_client`, so that its URI is also MLflow's global one.
        model_name: the registered model.
        config: the gate's limits.
        say: prints a line.
        dataset: the data set that the user named, by name or path; see `load_test_images`.
        force_reason: why the challenger is to be promoted even where rules fail; None leaves it to the gate.
        is_dry_run: whether only to run the gate and to change nothing in the registry.

    Raises:
        UsageError: there is no such registered model, or the test images cannot be loaded.
        GateRefusedError: there is no challenger, the two versions cannot be compared, a version's files are missing, or
            the champion's files have changed; no decision is recorded.
        LostRaceError: the champion was moved in the meantime, by another command or by hand.
        PipelineError: the ledger is broken.
    """
    store = LedgerStore(client, model_name)
    ledger = store.read_whole() if is_dry_run else finish_interrupted_decisions(client, store, say)[0]
    contenders = find_contenders(client, model_name)
    test = load_test_images(contenders.challenger, dataset, contenders.test_digest)
    found = run_gate(client, contenders, test, config)
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
            f"the files of the champion, version {verdict.champion.version} of {verdict.model}, have changed since it"
            f" was promoted: their digest is {verdict.champion.files}, but the ledger has {recorded}; restore them,"
            " give --rollback, or remove the alias champion"
        )


def _refuse_moved_champion(client: MlflowClient, contenders: Contenders) -> None:
    """Raises LostRaceError where somebody has moved the alias `champion` by hand, which the ledger does not show."""
    champion = aliases_of(client, str(contenders.challenger.name)).get(CHAMPION)
    if champion != contenders.champion_number:
        raise LostRaceError(
            f"the champion was moved in the meantime, from {_named(contenders.champion_number)} to {_named(champion)};"
            " nothing was changed: give the command again"
        )


def _named(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
