"""Tests that copying a store into a team's keeps all that a client can read, and that copying again changes nothing."""

import hashlib
from pathlib import Path

import pytest

from pipeline.copy_store.rows import Counts
from pipeline.errors import PipelineError, UsageError
from tests.store_contents import contents
from tests.unit.pipeline.copy_store.stores import change, client_of, copied, copy_into, make_own_store, record_files_in
from vit.files.storage import Folder


def files_below(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_all_is_there_with_its_ids(own: Path, team: Path) -> None:
    copy = copy_into(own, team)
    before, after = contents(client_of(own)), contents(client_of(team))
    assert after["experiments"].pop("vit-other") == {}
    assert after == before
    assert len(before["runs"]) == 2
    assert len(before["versions"]) == 2
    assert (copy.experiments, copy.files, copy.left) == ({"Default": 0, "vit-x": 2}, 4, {})
    assert copy.size == len("the report" + "a figure" + "weights 1" + "weights 2")


def test_files_lie_where_the_server_looks_for_them(own: Path, team: Path) -> None:
    copy_into(own, team)
    client = client_of(team)
    for run in client.search_runs(["2"]):
        assert run.info.artifact_uri == f"mlflow-artifacts:/2/{run.info.run_id}/artifacts"
    for version in client.search_model_versions():
        model_id = str(version.source).removeprefix("models:/")
        place = f"2/models/{model_id}/artifacts"
        assert client.get_logged_model(model_id).artifact_location == f"mlflow-artifacts:/{place}"
        assert client.get_model_version_download_uri("vit-x", version.version) == f"mlflow-artifacts:/{place}"
        assert (team / "artifacts" / place / "file.txt").read_text() == f"weights {version.version}"
    assert client.get_experiment("2").artifact_location == "mlflow-artifacts:/2"


def file_of(own: Path, run: str) -> Path:
    """Returns the file of a run in the source."""
    (path,) = own.rglob(f"{run}/artifacts/some folder/file.txt")
    return path


def test_files_go_into_an_object_store_too(own: Path, team: Path, s3_bucket: str) -> None:
    for _ in range(2):
        assert (copy_into(own, team, s3_bucket).files, list(team.glob("artifacts"))) == (4, [])
    run = next(iter(contents(client_of(own))["runs"]))
    assert Folder(f"{s3_bucket}/2/{run}/artifacts/some folder").read("file.txt") == file_of(own, run).read_bytes()


def test_the_source_stays_as_it_is(own: Path, team: Path) -> None:
    before = files_below(own)
    copy_into(own, team)
    assert files_below(own) == before


def test_again_it_adds_nothing_and_undoes_nothing_that_has_happened_since(own: Path, team: Path) -> None:
    first = copy_into(own, team)
    client_of(team).set_registered_model_alias("vit-x", "champion", "2")
    before, files = contents(client_of(team)), files_below(team / "artifacts")
    again = copy_into(own, team)
    assert contents(client_of(team)) == before
    assert files_below(team / "artifacts") == files
    assert again.rows == {
        name: Counts(0, counts.added, 1 if name == "registered_model_aliases" else 0)
        for name, counts in first.rows.items()
    }


def test_what_was_added_since_is_added(own: Path, team: Path) -> None:
    copy_into(own, team)
    client = client_of(own)
    (experiment,) = (each for each in client.search_experiments() if each.name == "vit-x")
    run = client.create_run(experiment.experiment_id).info.run_id
    client.log_metric(run, "val/loss", 1.0)
    client.set_terminated(run)
    again = copy_into(own, team)
    assert (again.rows["runs"].added, again.rows["metrics"].added, again.rows["params"].added) == (1, 1, 0)
    assert contents(client_of(team))["runs"] == contents(client)["runs"]


def test_a_file_that_the_team_has_changed_since_stays(own: Path, team: Path) -> None:
    copy_into(own, team)
    report = next(path for path in (team / "artifacts").rglob("file.txt") if path.read_text() == "the report")
    report.write_text("a newer report")
    assert copy_into(own, team).changed_files == 1
    assert report.read_text() == "a newer report"


def test_a_file_that_an_earlier_copy_left_without_its_run_is_written_again(own: Path, team: Path) -> None:
    run = next(iter(contents(client_of(own))["runs"]))
    left = team / "artifacts" / "2" / run / "artifacts" / "some folder" / "file.txt"
    left.parent.mkdir(parents=True)
    left.write_text("cut sho")
    assert copy_into(own, team).changed_files == 0
    assert left.read_bytes() == file_of(own, run).read_bytes()


def test_a_store_that_came_from_another_machine_has_its_files_beside_it(made: Path, own: Path, team: Path) -> None:
    record_files_in(own, made / "own", "/home/somebody/else")
    copy_into(own, team)
    assert set(files_below(team / "artifacts").values()) == set(files_below(own / "mlartifacts").values())
    assert contents(client_of(team))["versions"] == contents(client_of(own))["versions"]


def test_an_experiment_that_the_team_has_too_takes_the_runs_and_keeps_its_data_sets(
    tmp_path: Path, own: Path, team: Path
) -> None:
    """The stores of two people are copied one after the other; the second has no registered models."""
    copy_into(own, team)
    second = tmp_path / "second"
    make_own_store(second)
    for table in ("registered_model_aliases", "registered_model_tags", "model_version_tags", "model_versions"):
        change(second, f"DELETE FROM {table}")
    change(second, "DELETE FROM registered_models")
    assert copy_into(second, team).experiments["vit-x"] == 2
    both = contents(client_of(team))["runs"]
    assert both == contents(client_of(own))["runs"] | contents(client_of(second))["runs"]
    assert [len(run["data sets"]) for run in both.values() if run["params"]] == [1, 1]


@pytest.mark.parametrize(
    ("which", "statement", "message"),
    [
        ("own", "UPDATE runs SET status = 'RUNNING'", "--from has 2 runs that are RUNNING: let them end"),
        ("own", "UPDATE alembic_version SET version_num = '0a1b'", "--from has MLflow's tables of revision 0a1b, --to"),
        (
            "team",
            "UPDATE experiments SET artifact_location = '/mlruns/0'",
            "the server on --to keeps artifacts in /mlr",
        ),
        (
            "own",
            "UPDATE experiments SET artifact_location = 'foo://x'",
            "--from: the files of experiment vit-x in foo://x cannot be read: Protocol not known: foo",
        ),
        (
            "own",
            "UPDATE model_versions SET source = '/gone/1'",
            "--from has a model version in /gone/1, which is of no",
        ),
    ],
)
def test_what_stands_in_the_way_is_said_and_nothing_is_written(
    request: pytest.FixtureRequest, own: Path, team: Path, which: str, statement: str, message: str
) -> None:
    change(request.getfixturevalue(which), statement)
    before = files_below(team)
    with pytest.raises(UsageError) as refused:
        copy_into(own, team)
    assert str(refused.value).startswith(message)
    assert files_below(team) == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE registered_models SET creation_time = 1", "--to has a model vit-x that is not the one of --from"),
        ("UPDATE model_versions SET creation_time = 1", "--to has a version 1 of vit-x that is not the one of --from"),
    ],
)
def test_another_model_of_the_same_name_is_refused(own: Path, team: Path, statement: str, message: str) -> None:
    copy_into(own, team)
    change(team, statement)
    before = files_below(team)
    with pytest.raises(UsageError, match=message):
        copy_into(own, team)
    assert files_below(team) == before


def test_runs_that_went_on_after_they_were_copied_are_refused(own: Path, team: Path) -> None:
    copy_into(own, team)
    change(own, "UPDATE runs SET status = 'FINISHED', end_time = end_time + 1")
    before = files_below(team)
    with pytest.raises(UsageError, match=r"^--from has 2 runs that went on after they had been copied to --to, "):
        copy_into(own, team)
    assert files_below(team) == before


def test_runs_that_went_on_in_the_teams_store_stay_as_they_are_there(own: Path, team: Path) -> None:
    copy_into(own, team)
    change(team, "UPDATE runs SET status = 'FINISHED', end_time = end_time + 1")
    before = contents(client_of(team))
    copy_into(own, team)
    assert contents(client_of(team)) == before


def test_files_that_are_nowhere_are_refused(made: Path, own: Path, team: Path) -> None:
    record_files_in(own, made / "own", "/home/somebody/else")
    (own / "mlartifacts").rename(own / "elsewhere")
    with pytest.raises(UsageError) as refused:
        copy_into(own, team)
    places = f"file:///home/somebody/else/mlartifacts/vit-x nor in {own}/mlartifacts/vit-x"
    assert str(refused.value) == f"--from: the files of experiment vit-x are not in {places}"


def test_what_no_training_writes_stays_behind_and_is_counted(own: Path, team: Path) -> None:
    client = client_of(own)
    (experiment,) = (each for each in client.search_experiments() if each.name == "vit-x")
    trace = "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) VALUES ('tr-1', {}, 1, 'OK')"
    change(own, trace.format(experiment.experiment_id))
    assert copy_into(own, team).left == {"trace_info": 1}


def test_a_row_that_the_database_turns_into_another_is_found(own: Path, team: Path) -> None:
    """Here a trigger changes the row; in practice, a column that is too short would."""
    change(team, "CREATE TRIGGER cut AFTER INSERT ON params BEGIN UPDATE params SET value = '9'; END")
    with pytest.raises(PipelineError, match="params read back differently: 0 rows missing, 1 not the same"):
        copy_into(own, team)


def test_a_copy_of_the_folder_is_the_same_store(own: Path, tmp_path: Path, team: Path) -> None:
    copy_into(own, team)
    before = contents(client_of(team))
    copy_into(copied(own, tmp_path / "again"), team)
    assert contents(client_of(team)) == before
