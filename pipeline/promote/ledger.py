"""The ledger of decisions about a registered model: a chain in which each entry holds the hash of the one before.

An entry's hash is the SHA-256 of its JSON with sorted keys and without the hash itself. Whoever changes, removes or
reorders entries breaks the chain, or the entries no longer fit the mark of the last one that is kept with the
registered model. The chain does not protect against somebody who may write to the database and who rewrites both the
whole chain and the mark: to detect that, note the last hash elsewhere.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Event = Literal["promoted", "forced", "refused", "rollback"]
FIRST_BEFORE = "0" * 64
"""What the first entry holds in place of the hash of an entry before it."""


@dataclass(frozen=True)
class Decision:
    """What was decided, by whom, and why."""

    event: Event
    model: str
    from_version: int | None
    """The champion at that time; None where there was none."""
    to_version: int
    why: str
    who: str
    """`user@host`."""
    at: str
    """UTC, ISO 8601."""
    to_source: str
    """Where the files of `to_version` are, according to MLflow.

    The number alone does not identify a version, since a registered model that is deleted and created again reuses its
    numbers.
    """
    to_files: str
    """`sha256:<hex>` of the files of `to_version`."""
    from_files: str | None
    """`sha256:<hex>` of the champion's files, as the gate found them; None where no gate read them."""
    table: str | None
    """`sha256:<hex>` of the gate's `verdict.json`; None where there was no gate."""
    gate_run_id: str | None
    """The MLflow run that keeps the verdict; None where there was no gate."""
    nonce: str
    """A random text, so that two decisions of the same content are never mistaken for one."""

    @property
    def moves_champion(self) -> bool:
        return self.event != "refused"


@dataclass(frozen=True)
class LedgerEntry:
    """A decision at its place in the chain."""

    number: int
    """Its position in the chain, counting from 1."""
    before: str
    """The hash of the entry before it."""
    decision: Decision

    @property
    def hash(self) -> str:
        return hashlib.sha256(_canonical(self._content()).encode()).hexdigest()

    def to_text(self) -> str:
        return _canonical({**self._content(), "hash": self.hash})

    def _content(self) -> dict[str, Any]:
        return {"number": self.number, "before": self.before, **asdict(self.decision)}


@dataclass(frozen=True)
class Mark:
    """The number and hash of the last entry that has been carried out, kept in a tag of the registered model."""

    number: int
    hash: str

    def to_text(self) -> str:
        return f"{self.number:06d} {self.hash}"

    @staticmethod
    def parse(text: str) -> "Mark | None":
        found = re.fullmatch(r"(\d{6}) ([0-9a-f]{64})", text)
        return Mark(int(found[1]), found[2]) if found else None


@dataclass(frozen=True)
class Ledger:
    """The ledger as it was read."""

    entries: tuple[LedgerEntry, ...]
    """The entries that can be read, in order."""
    faults: tuple[str, ...]
    """The signs that somebody has tampered with it, in words; empty where the ledger is intact."""
    mark: Mark | None

    @property
    def last(self) -> LedgerEntry | None:
        return self.entries[-1] if self.entries else None

    @property
    def not_carried_out(self) -> tuple[LedgerEntry, ...]:
        """The entries beyond the mark: the command that added them was killed, or is still carrying them out."""
        done = 0 if self.mark is None else self.mark.number
        return self.entries[done:]

    def files_of(self, version: int) -> str | None:
        """Returns the digest of the files with which a version became champion; None where that is not known.

        For a version that became champion before there was a ledger, it is the digest that the first recorded gate
        against it found.
        """
        moves = [entry.decision for entry in self.entries if entry.decision.moves_champion]
        became = [move.to_files for move in reversed(moves) if move.to_version == version]
        seen = [entry.decision.from_files for entry in self.entries if entry.decision.from_version == version]
        return next((digest for digest in (*became, *seen) if digest is not None), None)


def key_of(number: int) -> str:
    return f"{number:06d}"


def next_entry(ledger: Ledger, decision: Decision) -> LedgerEntry:
    last = ledger.last
    return LedgerEntry(1, FIRST_BEFORE, decision) if last is None else LedgerEntry(last.number + 1, last.hash, decision)


def read_ledger(texts: Mapping[str, str], mark_text: str | None) -> Ledger:
    """Reads and checks the whole chain, given the texts of the entries by their keys, and the text of the mark."""
    faults: list[str] = [f"it holds {key!r}, which is no entry's number" for key in texts if not _is_key(key)]
    entries: list[LedgerEntry] = []
    last_number = max((int(key) for key in texts if _is_key(key)), default=0)
    before: str | None = FIRST_BEFORE
    for number in range(1, last_number + 1):
        entry, fault = _read_entry(texts.get(key_of(number)), number, before)
        if fault is not None:
            faults.append(fault)
        if entry is not None:
            entries.append(entry)
        before = None if entry is None else entry.hash
    mark = None if mark_text is None else Mark.parse(mark_text)
    faults += _faults_of_mark(mark_text, mark, entries)
    return Ledger(tuple(entries), tuple(faults), mark)


def _read_entry(text: str | None, number: int, before: str | None) -> tuple[LedgerEntry | None, str | None]:
    """Returns the entry, if it can be read, and what is wrong with it, if anything.

    `before` is the hash of the entry before, None where that is unknown.
    """
    name = f"entry {key_of(number)}"
    if text is None:
        return None, f"{name} was removed"
    try:
        content = json.loads(text)
        written_hash = content.pop("hash")
        entry = LedgerEntry(content.pop("number"), content.pop("before"), Decision(**content))
        found_hash = entry.hash
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, f"{name} was changed: it cannot be read any more"
    if found_hash != written_hash:
        return entry, f"{name} was changed: it does not have the hash that it was written with"
    if entry.number != number:
        return entry, f"{name} is in the wrong place: it was written as {key_of(entry.number)}"
    if before is not None and entry.before != before:
        return entry, f"{name} does not follow on the one before it: one of the two was changed or replaced"
    return entry, None


def _faults_of_mark(mark_text: str | None, mark: Mark | None, entries: list[LedgerEntry]) -> list[str]:
    if mark_text is None:
        return []
    if mark is None:
        return [f"the registered model's mark of its end was changed: {mark_text!r}"]
    marked = next((entry for entry in entries if entry.number == mark.number), None)
    if marked is None:
        return [f"entry {key_of(mark.number)} was removed: the registered model's tag still names it"]
    if marked.hash != mark.hash:
        return [
            f"entry {key_of(mark.number)} was replaced: its hash differs from the one in the registered model's tag"
        ]
    return []


def _is_key(key: str) -> bool:
    return re.fullmatch(r"\d{6}", key) is not None and int(key) > 0


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
