"""Tests the check of runs that are marked RUNNING, on a real SQLite store and with real locks."""

import getpass
import uuid
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.diagnosis.finding import mended
from pipeline.session.lock import locked
from pipeline.tracking.events import RECORD_TAG
from tests.unit.pipeline.diagnosis.command_store import (
    COMMAND,
    HERE,
    command_folder,
    experiment_of,
    found_runs,
    runs_of,
    start_runs,
    statuses,
)


def test_runs_of_a_killed_command_are_found_and_ended_as_interrupted(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": HERE})
    (finding,) = found_runs(client)
    assert statuses(client) == {("RUNNING", None)}  # the check alone changes nothing
    assert finding.state == "open"
    assert finding.line.startswith("run: sweep of experiment vit-x has runs that are marked RUNNING (")
    assert finding.line.endswith(f"but is not under way: --fix ends them as interrupted; to go on: {COMMAND}")
    assert set(finding.details["run_ids"]) == {run.info.run_id for run in runs_of(client).values()}
    after = mended(finding)
    assert (after.state, after.advice) == ("mended", f"3 runs ended as interrupted; to go on: {COMMAND}")
    assert statuses(client) == {("KILLED", "interrupted")}
    ends = {name: run.info.end_time for name, run in runs_of(client).items()}
    assert ends.pop("sweep") >= max(ends.values())  # the children are ended first
    assert found_runs(client) == []


def test_runs_of_a_command_under_way_are_no_finding(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    with locked(folder.uri):
        assert found_runs(client) == []
    (finding,) = found_runs(client)
    with locked(folder.uri):  # somebody has resumed the command in between
        assert mended(finding).advice.startswith(f"it could not be mended: {folder.uri} is in use")
    assert statuses(client) == {("RUNNING", None)}


@pytest.mark.parametrize(
    ("folder", "tags", "reason"),
    [
        ("{tmp}", {"pipeline.host": "another"}, "it ran on another;"),
        ("{tmp}/gone", {}, "its folder {tmp}/gone is not on this machine;"),
        ("memory://a/b", {}, "memory://a/b has no lock of its own, and its run does not say on which machine it ran;"),
        ("memory://a/b", {"pipeline.host": HERE, "mlflow.user": "another"}, "it ran as user another;"),
        ("memory://a/b", {"pipeline.host": HERE, "pipeline.os_user": "another"}, "it ran as user another;"),
    ],
)
def test_runs_of_elsewhere_are_reported_and_left_alone(
    client: MlflowClient, tmp_path: Path, folder: str, tags: dict[str, str], reason: str
) -> None:
    start_runs(client, uuid.uuid4().hex, folder.format(tmp=tmp_path), tags)
    (finding,) = found_runs(client)
    assert "which cannot be checked from this machine: " + reason.format(tmp=tmp_path) in finding.line
    assert finding.state == "information"
    assert mended(finding) is finding
    assert statuses(client) == {("RUNNING", None)}


def test_an_object_stores_folder_is_checked_where_it_ran(client: MlflowClient) -> None:
    uri = f"memory://{uuid.uuid4().hex}/sweep-x-1"
    start_runs(client, uuid.uuid4().hex, uri, {"pipeline.host": HERE})
    with locked(uri):
        assert found_runs(client) == []
    (finding,) = found_runs(client)
    assert mended(finding).state == "mended"
    assert statuses(client) == {("KILLED", "interrupted")}


def test_a_login_of_the_tracking_server_is_not_taken_for_another_user_of_the_machine(client: MlflowClient) -> None:
    tags = {"pipeline.host": HERE, "pipeline.os_user": getpass.getuser(), "mlflow.user": "a-login"}
    start_runs(client, uuid.uuid4().hex, f"memory://{uuid.uuid4().hex}/sweep-x-1", tags)
    (finding,) = found_runs(client)
    assert mended(finding).state == "mended"


def test_where_the_folder_was_removed_the_runs_are_ended_and_it_is_not_made_again(
    client: MlflowClient, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    start_runs(client, uuid.uuid4().hex, str(gone), {"pipeline.host": HERE})
    (finding,) = found_runs(client)
    assert mended(finding).advice == (
        f"3 runs ended as interrupted; its folder {gone} is gone, so there is nothing to go on with"
    )
    assert statuses(client) == {("KILLED", "interrupted")}
    assert not gone.exists()


def test_children_are_checked_by_the_folder_where_the_commands_own_run_was_deleted(
    client: MlflowClient, tmp_path: Path
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    client.delete_run(runs_of(client)["sweep"].info.run_id)
    (unknown,) = found_runs(client)
    assert unknown.state == "information"
    assert "which cannot be checked from this machine: its own run is gone" in unknown.line
    (finding,) = found_runs(client, {folder.owner: folder.uri})
    assert finding.line.startswith(f"run: command {folder.owner} of experiment vit-x has runs")
    assert mended(finding).advice == "2 runs ended as interrupted; to go on: give the same command again"
    assert statuses(client) == {("KILLED", "interrupted")}


def test_runs_that_do_not_say_whose_they_are_are_left_alone(client: MlflowClient) -> None:
    client.create_run(experiment_of(client), run_name="another's")
    client.create_run(experiment_of(client), run_name="odd", tags={"pipeline.kind": "trial", RECORD_TAG: "a'b/trial/0"})
    (finding,) = found_runs(client)
    assert "an unknown command has runs that are marked RUNNING (odd)" in finding.line
    assert finding.state == "information"
