"""Reads the history of a registered model: its versions, the ledger, and the decisions from before the ledger."""

from dataclasses import asdict, dataclass
from typing import Any

from mlflow import MlflowClient

from pipeline.promote.ledger import Ledger, LedgerEntry, key_of
from pipeline.promote.ledger_store import LedgerStore
from pipeline.promote.older_decisions import OlderDecision, older_decisions
from pipeline.registry.versions import CHAMPION, RegisteredVersion, list_versions


@dataclass(frozen=True)
class History:
    """The versions of one registered model and the decisions about it."""

    model: str
    versions: list[RegisteredVersion]
    older: list[OlderDecision]
    ledger: Ledger
    broken: str | None
    """The message that says how the ledger is broken; None where it is intact."""

    @property
    def lines(self) -> list[str]:
        """The history as lines of text, for people."""
        return [
            f"Versions of {self.model}:",
            *(f"  {_version_line(version)}" for version in self.versions),
            "Decisions:",
            *(f"  before the ledger {_older_line(decision)}" for decision in self.older),
            *(f"  {_entry_line(entry)}" for entry in self.ledger.entries),
            *self._notes,
        ]

    @property
    def _notes(self) -> list[str]:
        last = self.ledger.last
        if last is None or self.broken is not None:
            return []
        notes = [f"the ledger is intact and has {last.number} entries; its last hash is {last.hash}"]
        if left := self.ledger.not_carried_out:
            numbers = ", ".join(key_of(entry.number) for entry in left)
            notes.append(
                f"entry {numbers} was recorded but not fully carried out: the next promotion or roll-back completes it"
                " first"
            )
        moved = next((each.decision for each in reversed(self.ledger.entries) if each.decision.moves_champion), None)
        champion = next((each.version for each in self.versions if CHAMPION in each.aliases), None)
        if moved is not None and not left and champion != moved.to_version:
            held = "no version" if champion is None else f"version {champion}"
            notes.append(
                f"the alias champion was moved by hand: {held} has it, but by the ledger it belongs to version"
                f" {moved.to_version}"
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """The history as values for JSON, for programs."""
        entries = [
            {"number": entry.number, **asdict(entry.decision), "hash": entry.hash} for entry in self.ledger.entries
        ]
        return {
            "model": self.model,
            "versions": [asdict(version) for version in self.versions],
            "before_the_ledger": [asdict(decision) for decision in self.older],
            "ledger": {"entries": entries, "faults": list(self.ledger.faults)},
        }


def read_history(client: MlflowClient, model_name: str) -> History:
    """Reads and checks the history; changes nothing. Raises UsageError where there is no such model."""
    versions = list_versions(client, model_name)  # raises UsageError where there is no such model
    store = LedgerStore(client, model_name)
    ledger = store.read()
    broken = store.broken_message(ledger) if ledger.faults else None
    return History(model_name, versions, older_decisions(client, model_name), ledger, broken)


def _version_line(version: RegisteredVersion) -> str:
    aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
    measured = version.measured
    if measured is None:
        return f"version {version.version}{aliases}: no test figures"
    share = measured.test_correct / measured.test_images
    return (
        f"version {version.version}{aliases}: {measured} ({share:.2%}), validation accuracy {measured.val_accuracy:.2%}"
    )


def _older_line(decision: OlderDecision) -> str:
    return f"{decision.at[:19]}Z {decision.event} version {decision.version}: {decision.reason}"


def _entry_line(entry: LedgerEntry) -> str:
    decision = entry.decision
    before = "" if decision.from_version is None else f" (champion: version {decision.from_version})"
    table = "" if decision.table is None else f"; table {decision.table}"
    return (
        f"{key_of(entry.number)} {decision.at[:19]}Z {decision.event} version {decision.to_version}{before} by"
        f" {decision.who}: {decision.why}; files {decision.to_files}{table}"
    )
