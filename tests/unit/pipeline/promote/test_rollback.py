"""Tests of roll-backs on real files: to which versions they are allowed, and what a kill leaves."""

import shutil
from pathlib import Path
from typing import cast

import pytest
from mlflow import MlflowClient

from pipeline.errors import GateRefusedError, UsageError
from pipeline.promote.carry_out import carry_out
from pipeline.promote.ledger import Decision
from pipeline.promote.ledger_store import LedgerStore
from pipeline.promote.model_copy import copy_model
from pipeline.promote.new_decision import new_decision
from pipeline.promote.rollback import roll_back
from tests.unit.pipeline.promote.killed_client import KilledClient, KilledError
from tests.unit.pipeline.promote.registered_models import Versions


def back(versions: Versions, to: int | None = None, client: object = None) -> Decision:
    return roll_back(cast(MlflowClient, client or versions.client), versions.name, print, to).decision


def promoted(versions: Versions, files: Path, scratch: Path) -> None:
    """Makes a new version with these files the champion, as a promotion does; other tests cover the gate."""
    number = versions.add(files)
    version = versions.client.get_model_version(versions.name, str(number))
    digest = copy_model(versions.client, version, scratch).digest
    store = LedgerStore(versions.client, versions.name)
    decision = new_decision("promoted", version, versions.aliases().get("champion"), "better", digest)
    carry_out(versions.client, store, store.append(decision, store.read_whole()))


@pytest.fixture
def three(versions: Versions, fair: Path, nearly_fair: Path, good: Path, tmp_path: Path) -> Versions:
    """A registered model with three versions, each of which has been champion; the third one is champion now."""
    for files in (fair, nearly_fair, good):
        promoted(versions, files, tmp_path)
    assert versions.aliases() == {"champion": 3, "previous": 2}
    return versions


def test_rolling_back_twice_returns(three: Versions) -> None:
    decision = back(three)
    assert (decision.event, decision.from_version, decision.to_version) == ("rollback", 3, 2)
    assert decision.why == "rolled back from version 3"
    assert three.aliases() == {"champion": 2, "previous": 3}
    back(three)
    assert three.aliases() == {"champion": 3, "previous": 2}


def test_to_a_version_that_was_champion_long_before(three: Versions) -> None:
    assert back(three, to=1).to_version == 1
    assert three.aliases() == {"champion": 1, "previous": 3}


def test_to_nobody_else(three: Versions, good: Path) -> None:
    three.add(good)
    with pytest.raises(UsageError, match=r"version 4: vit-\d+ never had it as champion, so it has to pass the gate"):
        back(three, to=4)
    with pytest.raises(UsageError, match="--to is 3, but that is the champion already"):
        back(three, to=3)
    with pytest.raises(UsageError, match=r"--to is 9, but vit-\d+ has no such version"):
        back(three, to=9)
    assert three.aliases() == {"champion": 3, "previous": 2, "challenger": 4}


def test_there_must_be_a_way_back(versions: Versions, fair: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no previous champion to go back to"):
        back(versions)
    promoted(versions, fair, tmp_path)
    with pytest.raises(UsageError, match="no previous champion to go back to"):
        back(versions)


def test_back_where_the_champion_was_deleted_with_its_alias(three: Versions) -> None:
    three.client.delete_model_version(three.name, "3")
    assert three.aliases() == {"previous": 2}
    decision = back(three)
    assert (decision.from_version, decision.to_version) == (None, 2)
    assert decision.why == "rolled back: there was no champion"
    assert three.aliases()["champion"] == 2
    with pytest.raises(UsageError, match="no previous champion to go back to"):
        back(three)


@pytest.mark.parametrize("lost", ["MLmodel", "data/model.pt2", "."])
def test_not_to_one_whose_files_are_gone(three: Versions, lost: str) -> None:
    path = three.files_of(2) / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(GateRefusedError, match="version 2"):
        back(three)
    assert three.aliases() == {"champion": 3, "previous": 2}
    assert len(LedgerStore(three.client, three.name).read_whole().entries) == 3


def test_not_to_one_whose_files_were_changed(three: Versions) -> None:
    program = three.files_of(2) / "data" / "model.pt2"
    content = bytearray(program.read_bytes())
    content[-1] ^= 1
    program.write_bytes(content)
    with pytest.raises(
        GateRefusedError, match=r"version 2 of .* is not what it was as champion: .* the ledger has sha256"
    ):
        back(three)
    assert three.aliases() == {"champion": 3, "previous": 2}


def test_a_gate_verdict_beside_the_files_is_no_change(three: Versions) -> None:
    (three.files_of(2) / "gate").mkdir()
    (three.files_of(2) / "gate" / "verdict.json").write_text("{}")
    assert back(three).to_version == 2


def test_back_from_one_whose_files_are_gone(three: Versions) -> None:
    shutil.rmtree(three.files_of(3))
    assert back(three).to_version == 2


def test_a_champion_from_before_the_ledger_is_one_to_go_back_to(versions: Versions, fair: Path, good: Path) -> None:
    """Its tag says that it was champion; the entry of a promotion that replaced it would say so, too.

    The ledger has no digest of its files, so they only have to exist.
    """
    versions.add(fair)
    old = (
        '{"event": "promote", "at": "2025-01-01", "version": 1, "replaced": null, "reason": "first", "measured": null}'
    )
    versions.client.set_model_version_tag(versions.name, "1", "pipeline.promotion.20250101T000000.000000Z", old)
    versions.make_champion(versions.add(good))
    versions.client.set_registered_model_alias(versions.name, "previous", "1")
    assert back(versions).to_version == 1
    assert versions.aliases() == {"champion": 1, "previous": 2}


@pytest.mark.parametrize("writes", range(4))
def test_a_kill_between_any_two_writes_is_ended_by_the_same_command(three: Versions, writes: int) -> None:
    """The writes are the entry, two aliases and the mark. The command given again completes it and does not undo it."""
    with pytest.raises(KilledError):
        back(three, client=KilledClient(three.client, writes))
    assert three.aliases()["champion"] == (2 if writes == 3 else 3)
    assert back(three).to_version == 2
    assert three.aliases() == {"champion": 2, "previous": 3}
    entries = LedgerStore(three.client, three.name).read_whole().entries
    assert [entry.decision.event for entry in entries] == ["promoted"] * 3 + ["rollback"]
    assert back(three).to_version == 3
