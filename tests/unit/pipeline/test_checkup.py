"""What the check-up finds and mends, on a real SQLite store, real folders and locks."""

import contextlib
import getpass
import json
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import mlflow
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline import ddp, search, session
from pipeline.checkup import rays, storage
from pipeline.checkup.finding import Finding, exit_status, in_words, mended, some, totals
from pipeline.checkup.rays import check_groups, check_rays, find_cluster
from pipeline.checkup.records import Records
from pipeline.checkup.runs import check_runs
from pipeline.checkup.storage import CommandFolder, check_folder, command_folders, find_leftovers
from pipeline.checkup.versions import check_versions
from pipeline.exits import PipelineError, UsageError
from pipeline.lock import locked
from pipeline.tracking import RECORD_TAG
from pipeline.trials.folder import TrialLedger
from vit.storage import Folder

HERE = socket.gethostname()
COMMAND = "python -m pipeline.sweep --trials 2"


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(empty_database: Path, tmp_path: Path) -> MlflowClient:
    """Of a store with the experiment `vit-x`."""
    uri = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    client.create_experiment("vit-x", artifact_location=(tmp_path / "artifacts").as_uri())
    return client


@pytest.fixture
def memory() -> Iterator[str]:
    """A storage that is no local folder."""
    uri = f"memory://{uuid.uuid4().hex}/sweeps"
    yield uri
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(uri.removesuffix("/sweeps"), recursive=True)


def experiment_of(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("vit-x")
    assert found is not None
    return str(found.experiment_id)


def start_runs(client: MlflowClient, owner: str, folder: str, tags: Mapping[str, str] | None = None) -> None:
    """The runs of a sweep with a stage and a trial, as they stand while it is under way."""
    about = {"pipeline.folder": folder, "pipeline.command": COMMAND, "mlflow.user": getpass.getuser(), **(tags or {})}
    for key, kind, more in (("sweep", "sweep", about), ("stage/search", "stage", {}), ("trial/0", "trial", {})):
        its_tags = {"pipeline.kind": kind, RECORD_TAG: f"{owner}/{key}", **more}
        client.create_run(experiment_of(client), tags=its_tags, run_name=key)


def runs_of(client: MlflowClient) -> dict[str, Run]:
    return {run.info.run_name: run for run in client.search_runs([experiment_of(client)])}


def statuses(client: MlflowClient) -> set[tuple[str, str | None]]:
    return {(run.info.status, run.data.tags.get("pipeline.stopped")) for run in runs_of(client).values()}


def command_folder(storage: str, name: str = "sweep-x-1") -> CommandFolder:
    """One in which a command has begun."""
    owner = uuid.uuid4().hex
    Folder(f"{storage}/{name}").write("session.json", json.dumps({"id": owner}).encode())
    return CommandFolder(f"{storage}/{name}", owner)


def found_runs(client: MlflowClient, folders: Mapping[str, str] | None = None) -> list[Finding]:
    return list(check_runs(Records(client), folders or {}))


# What a finding is


def test_a_finding_is_one_line_that_says_what_to_do() -> None:
    finding = Finding("version", "vit-x version 1", "has no files,\nnone", "delete it")
    assert finding.line == "version: vit-x version 1 has no files, none: delete it"
    assert mended(finding) is finding  # a person has to
    finding = Finding(
        "leftover", "sweeps/a", "holds 3 bytes", "--fix removes it", mend=lambda: "removed, 3 bytes freed"
    )
    assert mended(finding).line == "leftover: sweeps/a holds 3 bytes: mended: removed, 3 bytes freed"


def test_what_cannot_be_mended_stays_open_and_says_why() -> None:
    def refuse() -> str:
        raise UsageError("it is in use")

    finding = mended(Finding("leftover", "sweeps/a", "holds 3 bytes", "--fix removes it", mend=refuse))
    assert (finding.state, finding.advice) == ("open", "it could not be mended: it is in use")


def test_the_exit_status_and_the_counts_tell_whether_something_wants_a_hand() -> None:
    information = Finding("unfinished", "a", "b", "c", "information")
    done = Finding("run", "a", "b", "c", "mended")
    left = Finding("run", "a", "b", "c")
    assert [exit_status(each) for each in ([], [information, done], [done, left])] == [0, 0, 1]
    assert totals([]) == "nothing was found"
    assert totals([information, done, left]) == (
        "3 found (unfinished 1, run 2): 1 mended, 1 left that want a hand, 1 for information"
    )


def test_long_lists_and_sizes_are_short_in_words() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdef")) == "a, b, c, d, 2 more"
    assert [in_words(size) for size in (0, 999, 1000, 12_345_678, 5e9)] == [
        "0 bytes", "999 bytes", "1.0 kB", "12.3 MB", "5.0 GB",
    ]  # fmt: skip


# Runs that stand as RUNNING


def test_runs_of_a_killed_command_are_found_and_ended_as_interrupted(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": HERE})
    (finding,) = found_runs(client)
    assert statuses(client) == {("RUNNING", None)}  # looking changes nothing
    assert finding.state == "open"
    assert finding.line.startswith("run: sweep of experiment vit-x has runs that stand as RUNNING (")
    assert finding.line.endswith(f"but is not under way: --fix ends them as interrupted; to go on: {COMMAND}")
    assert set(finding.details["run_ids"]) == {run.info.run_id for run in runs_of(client).values()}
    after = mended(finding)
    assert (after.state, after.advice) == ("mended", f"3 runs ended as interrupted; to go on: {COMMAND}")
    assert statuses(client) == {("KILLED", "interrupted")}
    ends = {name: run.info.end_time for name, run in runs_of(client).items()}
    assert ends.pop("sweep") >= max(ends.values())  # the children first
    assert found_runs(client) == []


def test_runs_of_a_command_under_way_are_no_finding(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    with locked(folder.uri):
        assert found_runs(client) == []
    (finding,) = found_runs(client)
    with locked(folder.uri):  # somebody has gone on with it in between
        assert mended(finding).advice.startswith(f"it could not be mended: {folder.uri} is in use")
    assert statuses(client) == {("RUNNING", None)}


@pytest.mark.parametrize(
    ("folder", "tags", "reason"),
    [
        ("{tmp}", {"pipeline.host": "another"}, "it ran on another;"),
        ("{tmp}/gone", {}, "its folder {tmp}/gone is not on this machine;"),
        ("memory://a/b", {}, "memory://a/b has no lock of its own, and its run does not say on which machine it ran;"),
        ("memory://a/b", {"pipeline.host": HERE, "mlflow.user": "another"}, "it ran as user another;"),
    ],
)
def test_runs_of_elsewhere_are_told_and_left_alone(
    client: MlflowClient, tmp_path: Path, folder: str, tags: dict[str, str], reason: str
) -> None:
    start_runs(client, uuid.uuid4().hex, folder.format(tmp=tmp_path), tags)
    (finding,) = found_runs(client)
    assert "which cannot be judged from here: " + reason.format(tmp=tmp_path) in finding.line
    assert finding.state == "information"
    assert mended(finding) is finding
    assert statuses(client) == {("RUNNING", None)}


def test_an_object_stores_folder_is_judged_where_it_ran(client: MlflowClient) -> None:
    uri = f"memory://{uuid.uuid4().hex}/sweep-x-1"
    start_runs(client, uuid.uuid4().hex, uri, {"pipeline.host": HERE})
    with locked(uri):
        assert found_runs(client) == []
    (finding,) = found_runs(client)
    assert mended(finding).state == "mended"
    assert statuses(client) == {("KILLED", "interrupted")}


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


def test_children_are_judged_by_the_folder_where_the_commands_own_run_was_deleted(
    client: MlflowClient, tmp_path: Path
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    client.delete_run(runs_of(client)["sweep"].info.run_id)
    (unknown,) = found_runs(client)
    assert unknown.state == "information"
    assert "which cannot be judged from here: its own run is gone" in unknown.line
    (finding,) = found_runs(client, {folder.owner: folder.uri})
    assert finding.line.startswith(f"run: command {folder.owner} of experiment vit-x has runs")
    assert mended(finding).advice == "2 runs ended as interrupted; to go on: give the same command again"
    assert statuses(client) == {("KILLED", "interrupted")}


def test_runs_that_do_not_say_whose_they_are_are_left_alone(client: MlflowClient) -> None:
    client.create_run(experiment_of(client), run_name="another's")
    client.create_run(experiment_of(client), run_name="odd", tags={"pipeline.kind": "trial", RECORD_TAG: "a'b/trial/0"})
    (finding,) = found_runs(client)
    assert "an unknown command has runs that stand as RUNNING (odd)" in finding.line
    assert finding.state == "information"


# Folders


def test_the_names_are_those_that_the_writers_use(tmp_path: Path) -> None:
    assert (storage.SESSION_FILE, storage.PROBE_FILE) == (session.SESSION_FILE, session.PROBE_FILE)
    assert (storage.TUNE_FOLDER, storage.RAY_TRAIN_FOLDER) == (search.TUNE_FOLDER, ddp.RAY_TRAIN_FOLDER)

    class Died(BaseException):
        """In the middle of writing a file."""

    def die(*_: object) -> None:
        left.extend(path.name for path in tmp_path.iterdir())
        raise Died

    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Died):
        patch.setattr(Path, "replace", die)
        Folder(str(tmp_path)).write("latest.pt", b"x")
    assert [bool(storage.TEMPORARY.fullmatch(name)) for name in left] == [True]


def test_leftovers_are_what_no_command_reads_again() -> None:
    temporary = f".latest.pt.{uuid.uuid4().hex}"
    needed = [
        "session.json", ".lock", "finalists/0/00000/trial.json", "finalists/1/00000/latest.pt", "trials",
        "trials/00000", "trials/00000/trial.json",
        "trials/00000/history.json", "trials/00000/model.safetensors", "trials/00000/config.json",
        "trials/00001/latest.pt", "trials/00001/previous.pt", ".session.json.1234", "tuned",
    ]  # fmt: skip
    leftovers = {
        "probe": 1, "tune": 0, "tune/a/b.json": 20, "tune/c": 30, "trials/00000/latest.pt": 400,
        "trials/00000/previous.pt": 500, "ray-train": 0, "ray-train/0a/order.json": 6000,
        "finalists/0/00000/latest.pt": 10, "audit/00000/previous.pt": 11,
        f"trials/00001/{temporary}": 8, f".session.json.{uuid.uuid4().hex}": 9,
    }  # fmt: skip
    over = {"trials/00000", "finalists/0/00000", "audit/00000"}
    found = find_leftovers({**dict.fromkeys(needed, 100), **leftovers}, over.__contains__)
    assert set(found) == {path for path in leftovers if "tune/" not in path and "ray-train/" not in path}
    assert (found["tune"], found["ray-train"], sum(found.values())) == (50, 6000, sum(leftovers.values()))


def filled(folder: CommandFolder) -> Folder:
    """With a trial that is over and one that is not, and things of 10 bytes that nothing needs."""
    place, trials = Folder(folder.uri), Folder(f"{folder.uri}/trials")
    for index, outcome in (("00000", "finished"), ("00001", None)):
        TrialLedger({}, outcome=outcome).write(trials / index)
        for name in ("latest.pt", "previous.pt", "model.safetensors", "history.json"):
            (trials / index).write(name, b"0123456789")
    place.write("tune/experiment/state.json", b"0123456789")
    place.write("ray-train/0a/order.json", b"0123456789")
    return place


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_leftovers_are_removed_and_the_rest_stays(client: MlflowClient, tmp_path: Path, memory: str, kind: str) -> None:
    folder = command_folder(str(tmp_path / "sweeps") if kind == "local" else memory)
    assert folder.owner is not None
    place = filled(folder)
    temporary = f"trials/00001/.latest.pt.{uuid.uuid4().hex}"
    place.write(temporary, b"0123456789")
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": HERE})
    before = set(folder.files())
    (unfinished, finding) = check_folder(folder, Records(client))
    assert unfinished.line == f"unfinished: {folder.uri} is not finished: to go on: {COMMAND}"
    leftovers = {"tune", "ray-train", "trials/00000/latest.pt", "trials/00000/previous.pt", temporary}
    assert set(finding.details["paths"]) == leftovers
    assert set(folder.files()) == before
    assert mended(finding).line.endswith("mended: removed, 50 bytes freed")
    gone = {path for path in before if any(path == each or path.startswith(f"{each}/") for each in leftovers)}
    assert set(folder.files()) - {".lock"} == before - gone
    assert [each.kind for each in check_folder(folder, Records(client))] == ["unfinished"]


def test_a_folder_in_use_is_not_looked_at(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    with locked(folder.uri):
        assert list(check_folder(folder, Records(client))) == []
    (_, finding) = check_folder(folder, Records(client))
    with locked(folder.uri):
        before = folder.files()
        assert mended(finding).advice.startswith(f"it could not be mended: {folder.uri} is in use")
        assert folder.files() == before


def test_what_a_storage_does_not_remove_is_not_called_removed(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    (_, finding) = check_folder(folder, Records(client))
    monkeypatch.setattr(Folder, "remove_folder", lambda *_: None)
    assert mended(finding).advice == "it could not be mended: ray-train, tune is still there"


def test_leftovers_are_left_alone_where_a_command_may_be_under_way_elsewhere(client: MlflowClient, memory: str) -> None:
    folder = command_folder(memory)
    assert folder.owner is not None
    filled(folder)
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": "another"})
    (finding,) = check_folder(folder, Records(client))
    assert (finding.kind, finding.state, finding.mend) == ("leftover", "information", None)
    assert finding.line.endswith(": left alone, since a command may be under way (it ran on another)")


def test_a_folder_that_mlflow_knows_nothing_of_is_told_with_its_size(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    Folder(folder.uri).write("trials/00000/model.safetensors", bytes(2_000_000))
    (finding,) = check_folder(folder, Records(client))
    assert finding.line == (
        f"checkpoint: {folder.uri} (2.0 MB) has no run in this tracking store: give its command again, which tells "
        "MLflow all of it again; or remove the folder"
    )
    assert (finding.state, finding.mend) == ("open", None)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": "a/b"}', b'{"id": 3}', b"{}"])
def test_a_session_that_cannot_be_read_is_told(client: MlflowClient, tmp_path: Path, content: bytes) -> None:
    Folder(f"{tmp_path}/sweeps/sweep-x-1").write("session.json", content)
    (folder,) = command_folders(f"{tmp_path}/sweeps", must_exist=True)
    (finding,) = check_folder(folder, Records(client))
    assert "has a session.json that cannot be read: remove session.json and give its command again" in finding.line


@pytest.mark.parametrize("finished", [True, False, None])
def test_a_command_that_came_to_its_end_is_no_finding(
    client: MlflowClient, tmp_path: Path, finished: bool | None
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    memory = {"id": folder.owner} | ({} if finished is None else {"finished": finished})
    Folder(folder.uri).write("session.json", json.dumps(memory).encode())
    assert [finding.kind for finding in check_folder(folder, Records(client))] == ([] if finished else ["unfinished"])


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_the_folders_of_a_storage_are_those_with_a_session(tmp_path: Path, memory: str, kind: str) -> None:
    storage = str(tmp_path / "sweeps") if kind == "local" else memory
    expected = [command_folder(storage, name) for name in ("sweep-x-1", "train-x-2")]
    Folder(f"{storage}/another").write("file", b"")
    Folder(storage).write("file", b"")
    assert command_folders(f"{storage}/", must_exist=True) == expected


def test_a_storage_that_is_not_there_is_refused_unless_it_is_the_default(tmp_path: Path) -> None:
    missing = f"{tmp_path}/missing"
    assert command_folders(missing, must_exist=False) == []
    for place in (missing, f"memory://{uuid.uuid4().hex}"):
        with pytest.raises(UsageError, match=f"--storage is {place}, but there is no such folder"):
            command_folders(place, must_exist=True)
    with pytest.raises(UsageError, match="--storage leads to nosuch://a, which cannot be read"):
        command_folders("nosuch://a", must_exist=True)


def test_a_storage_that_does_not_answer_is_no_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "ls", refuse)
    with pytest.raises(PipelineError, match="which cannot be read: no credentials") as refused:
        command_folders("memory://a", must_exist=False)
    assert refused.value.status == 1


# Registered versions


def register(client: MlflowClient, folder: Path, kind: str) -> tuple[Path, str]:
    """A new version of `vit-x`; gives the place of its files and its source."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in ("MLmodel", "data/model.pt2"):
        (folder / name).write_text("tiny")
    run = client.create_run(experiment_of(client))
    if kind == "run":
        client.log_artifacts(run.info.run_id, str(folder), "model")
        place, source = f"{run.info.artifact_uri}/model", f"runs:/{run.info.run_id}/model"
    else:
        model = client.create_logged_model(experiment_of(client), "model", source_run_id=run.info.run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        place, source = model.artifact_location, f"models:/{model.model_id}"
    with contextlib.suppress(mlflow.MlflowException):
        client.create_registered_model("vit-x")
    client.create_model_version("vit-x", source, run.info.run_id)
    return Path(place.removeprefix("file://")), source


@pytest.mark.parametrize("kind", ["run", "model"])
def test_versions_without_their_files_are_told(client: MlflowClient, tmp_path: Path, kind: str) -> None:
    places, sources = zip(*(register(client, tmp_path / "model", kind) for _ in range(4)), strict=True)
    client.set_registered_model_alias("vit-x", "champion", "2")
    client.set_registered_model_alias("vit-x", "challenger", "4")
    assert list(check_versions(client)) == []
    shutil.rmtree(places[1])
    (places[2] / "MLmodel").unlink()
    (places[3] / "data" / "model.pt2").unlink()
    delete = "delete it in the MLflow UI, or by MlflowClient().delete_model_version('vit-x', '{}')"
    assert [finding.line for finding in check_versions(client)] == [
        f"version: vit-x version 2 [champion] has no files at {sources[1]}: "
        f"python -m pipeline.promote --model vit-x --rollback; then {delete.format(2)}",
        f"version: vit-x version 3 has no MLmodel at {sources[2]}: {delete.format(3)}",
        f"version: vit-x version 4 [challenger] has no data at {sources[3]}: {delete.format(4)}",
    ]


def test_a_version_whose_model_mlflow_has_lost_is_told(client: MlflowClient, tmp_path: Path) -> None:
    _, source = register(client, tmp_path / "model", "model")
    client.delete_logged_model(source.removeprefix("models:/"))
    client.create_registered_model("another")
    client.create_model_version("another", "runs:/gone/model")
    (finding,) = check_versions(client)
    assert finding.line.startswith("version: vit-x version 1 cannot be listed (")
    assert finding.details == {"name": "vit-x", "version": 1, "aliases": [], "source": source}


# Rays


def process(pid: int, name: str = "gcs_server", status: str = "sleeping", **options: str) -> Any:
    words = ["/ray/gcs_server", *(f"--{option.replace('_', '-')}={value}" for option, value in options.items())]
    return SimpleNamespace(info={"pid": pid, "name": name, "status": status, "cmdline": words})


def test_two_rays_are_told_with_what_tells_them_apart() -> None:
    first = process(11, session_dir="/tmp/ray/session_1")
    first.info["cmdline"].append("--gcs_server_port=0")
    second = process(12, session_dir="/tmp/ray/session_2")
    second.info["cmdline"].append("--gcs_server_port=6379")
    hidden = process(13)
    hidden.info["cmdline"] = None
    (finding,) = check_rays([first, process(1, "raylet"), second, hidden])
    rays = "process 11, /tmp/ray/session_1; process 12, port 6379, /tmp/ray/session_2; process 13"
    assert finding.line.startswith(f"ray: 3 Rays on this machine ({rays}): ")
    assert finding.details == {"pids": [11, 12, 13]}


def test_one_ray_is_no_finding_and_a_dead_one_does_not_count() -> None:
    assert list(check_rays([process(11), process(1, "python"), process(12, status=psutil.STATUS_ZOMBIE)])) == []


def test_an_address_where_nothing_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        silent = f"127.0.0.1:{taken.getsockname()[1]}"
    for address in (silent, "nowhere", "127.0.0.1:99999"):
        with pytest.raises(UsageError, match=f"--address is {address}, but no Ray cluster answers there"):
            find_cluster(address)
    with pytest.raises(UsageError, match="--address is ray://a:10001, but must be HOST:PORT of the cluster itself"):
        find_cluster("ray://a:10001")
    monkeypatch.setenv("RAY_ADDRESS", silent)
    assert find_cluster(None) is None
    with pytest.raises(UsageError, match="--address is auto, but no Ray cluster answers there"):
        find_cluster("auto")


def test_a_cluster_that_cannot_be_read_is_an_error_only_where_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cluster: str) -> None:
        raise UsageError(f"{cluster} wants a token")

    monkeypatch.setattr(rays, "leaked_groups", refuse)
    with pytest.raises(UsageError, match="a:1 wants a token"):
        list(check_groups("a:1", was_named=True))
    (finding,) = check_groups("a:1", was_named=False)
    assert (finding.state, finding.line) == (
        "information", "group: Ray cluster a:1 cannot be judged from here: a:1 wants a token",
    )  # fmt: skip
