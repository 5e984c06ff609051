"""Tests of the ledger in a real store: each entry is written once, by one command, and tampering is detected."""

import getpass
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.promote.ledger import Ledger
from pipeline.promote.ledger_store import MARK_TAG, LedgerStore, LostRaceError
from tests.unit.pipeline.promote.decisions import decision
from tests.unit.pipeline.promote.registered_models import Versions, new_model


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "mlflow.db"


@pytest.fixture
def versions(database: Path) -> Versions:
    return new_model(f"sqlite:///{database}")


@pytest.fixture
def store(versions: Versions) -> LedgerStore:
    return LedgerStore(versions.client, versions.name)


def fill(store: LedgerStore, name: str, length: int = 3) -> None:
    """Appends `length` entries, and marks each of them as carried out."""
    for number in range(1, length + 1):
        store.mark(store.append(decision(number, number - 1 or None, model=name), store.read_whole()))


def run_of_ledger(versions: Versions) -> str:
    experiment = versions.client.get_experiment_by_name(f"{versions.name}.ledger")
    assert experiment is not None
    return str(experiment.tags["pipeline.ledger_run"])


def test_entries_are_parameters_of_a_finished_run_in_the_models_experiment(
    versions: Versions, store: LedgerStore
) -> None:
    assert store.read() == Ledger((), (), None)
    fill(store, versions.name)
    run = versions.client.get_run(run_of_ledger(versions))
    assert (run.info.status, run.data.tags["pipeline.kind"]) == ("FINISHED", "ledger")
    assert run.data.tags["mlflow.user"] == getpass.getuser()  # the user who created the ledger
    home = versions.client.get_experiment_by_name(versions.name)
    assert home is not None
    assert run.info.experiment_id == home.experiment_id
    assert sorted(run.data.params) == ["000001", "000002", "000003"]
    assert json.loads(run.data.params["000002"])["who"] == "ann@host"
    ledger = store.read()
    assert (ledger.faults, ledger.not_carried_out) == ((), ())


def test_the_store_takes_no_other_value_for_an_entry(versions: Versions, store: LedgerStore) -> None:
    fill(store, versions.name, 1)
    with pytest.raises(Exception, match="Changing param values is not allowed"):
        versions.client.log_param(run_of_ledger(versions), "000001", "another")


def test_of_two_decisions_by_the_same_champion_the_second_is_told(versions: Versions, store: LedgerStore) -> None:
    fill(store, versions.name, 1)
    both_saw = store.read_whole()
    store.append(decision(2, 1, model=versions.name), both_saw)
    with pytest.raises(LostRaceError, match=r"ann@host made version 2 of .* champion \(promoted\)"):
        store.append(decision(3, 1, model=versions.name), both_saw)
    assert [entry.decision.to_version for entry in store.read_whole().entries] == [1, 2]


def test_a_refusal_stands_in_nobodys_way(versions: Versions, store: LedgerStore) -> None:
    fill(store, versions.name, 1)
    seen = store.read_whole()
    store.append(decision(2, 1, "refused", versions.name), seen)
    assert store.append(decision(3, 1, model=versions.name), seen).number == 3
    assert store.append(decision(4, 1, "refused", versions.name), seen).number == 4
    assert store.read_whole().faults == ()


def _change(of_run: str) -> list[str]:
    return [f"UPDATE params SET value = replace(value, 'better', 'best') WHERE key = '000002' AND {of_run}"]


def _remove(of_run: str) -> list[str]:
    return [f"DELETE FROM params WHERE key = '000002' AND {of_run}"]


def _remove_the_last(of_run: str) -> list[str]:
    return [f"DELETE FROM params WHERE key = '000003' AND {of_run}"]


def _reorder(of_run: str) -> list[str]:
    return [
        f"UPDATE params SET key = '{new}' WHERE key = '{old}' AND {of_run}"
        for old, new in (("000002", "x"), ("000003", "000002"), ("x", "000003"))
    ]


def _add(of_run: str) -> list[str]:
    return [f"INSERT INTO params (key, value, run_uuid) SELECT '000004', value, run_uuid FROM params WHERE {of_run}"]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_change, "entry 000002 was changed"),
        (_remove, "entry 000002 was removed"),
        (_remove_the_last, "entry 000003 was removed"),
        (_reorder, "entry 000002 is in the wrong place: it was written as 000003"),
        (_add, "entry 000004 is in the wrong place: it was written as 00000"),
    ],
)
def test_who_meddles_with_the_database_is_found_out(
    database: Path, versions: Versions, store: LedgerStore, tamper: Callable[[str], list[str]], said: str
) -> None:
    fill(store, versions.name)
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in tamper(f"run_uuid = '{run_of_ledger(versions)}'"):
            connection.execute(statement.replace("INSERT INTO", "INSERT OR IGNORE INTO"))
    with pytest.raises(PipelineError, match=rf"THE LEDGER OF {versions.name} IS BROKEN: {said}.* begin a new ledger"):
        store.read_whole()
    with pytest.raises(PipelineError, match="IS BROKEN"):
        store.append(decision(4, 3, model=versions.name), store.read())


def test_a_new_ledger_is_begun_as_the_message_says(versions: Versions, store: LedgerStore) -> None:
    fill(store, versions.name)
    experiment = versions.client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    versions.client.rename_experiment(experiment.experiment_id, f"{store.experiment}.old")
    # Without its experiment, the ledger does not simply start again as an empty one.
    with pytest.raises(PipelineError, match="entry 000003 was removed"):
        store.read_whole()
    versions.client.delete_registered_model_tag(versions.name, MARK_TAG)
    fill(store, versions.name, 1)
    assert [entry.number for entry in store.read_whole().entries] == [1]


def test_a_ledger_that_was_deleted_in_mlflow_is_read_and_not_added_to(versions: Versions, store: LedgerStore) -> None:
    fill(store, versions.name)
    run_id = run_of_ledger(versions)
    versions.client.delete_run(run_id)
    ledger = store.read_whole()
    with pytest.raises(PipelineError, match=rf"was deleted in MLflow: bring it back by .*restore_run\('{run_id}'\)"):
        store.append(decision(4, 3, model=versions.name), ledger)
    versions.client.restore_run(run_id)
    assert store.append(decision(4, 3, model=versions.name), ledger).number == 4


def test_an_entry_that_mlflow_would_cut_off_is_refused(versions: Versions, store: LedgerStore) -> None:
    long = decision(1, model="v" * 6000)
    with pytest.raises(PipelineError, match="may have 6000"):
        store.append(long, store.read_whole())
    assert store.read_whole().entries == ()


def test_no_such_model(versions: Versions) -> None:
    with pytest.raises(UsageError, match="there is no registered model vit-none"):
        LedgerStore(versions.client, "vit-none").read()
