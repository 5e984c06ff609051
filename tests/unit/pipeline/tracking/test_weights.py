"""Tests where a training's weights are found, and which run has lost them, with real folders and a real store."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from pipeline.errors import PipelineError
from pipeline.tracking.weights import ARTIFACTS, find_weights, first_lost_weights, weights_digest
from pipeline.trials.folder import trial_folder
from vit.files.storage import CONFIG_FILE, WEIGHTS_FILE, Folder

NAMES = (WEIGHTS_FILE, CONFIG_FILE)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A client of a SQLite store with the experiment `vit-x`."""
    folder = tmp_path_factory.mktemp("weights")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    client.create_experiment("vit-x", artifact_location=(folder / "artifacts").as_uri())
    return client


def start_run(client: MlflowClient, *names: str) -> str:
    """Creates a run that has these files as the artifacts of a training, and returns its id."""
    experiment = client.get_experiment_by_name("vit-x")
    assert experiment is not None
    run_id = str(client.create_run(experiment.experiment_id).info.run_id)
    for name in names:
        client.log_text(run_id, f"{name} of the run", f"{ARTIFACTS}/{name}")
    return run_id


def artifact(client: MlflowClient, run_id: str, name: str) -> Path:
    uri = str(client.get_run(run_id).info.artifact_uri)
    return Path(uri.removeprefix("file://"), ARTIFACTS, name)


def fill(folder: Folder, *names: str) -> None:
    for name in names:
        folder.write(name, f"{name} of the folder".encode())


def contents(folder: Folder) -> list[bytes]:
    return [folder.read(name) for name in NAMES]


def digest_of(folder: Path, where: str, *, config: str = "") -> str:
    """Returns the digest of the files that `fill` (`where` is `folder`) or `start_run` (`run`) writes."""
    scratch = Folder(str(folder / f"digest-{where}"))
    for name in NAMES:
        text = config if config and name == CONFIG_FILE else f"{name} of the {where}"
        scratch.write(name, text.encode())
    return weights_digest(scratch)


def test_weights_in_their_folder_are_taken_from_there(client: MlflowClient, tmp_path: Path) -> None:
    fill(trial_folder(str(tmp_path / "trials"), 7), *NAMES)
    fetched, digest = Folder(str(tmp_path / "fetched")), digest_of(tmp_path, "folder")
    found = find_weights(client, "a run that nobody asks for", str(tmp_path / "trials"), 7, digest, fetched)
    assert found.uri == f"{tmp_path}/trials/00007"
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("left", [(), (WEIGHTS_FILE,), (CONFIG_FILE,), NAMES])
def test_weights_whose_folder_is_not_whole_or_anothers_are_fetched_from_the_run(
    client: MlflowClient, tmp_path: Path, left: tuple[str, ...]
) -> None:
    """On another machine, the same command has a folder at the same path with other weights."""
    fill(trial_folder(str(tmp_path / "trials"), 7), *left)
    run_id, fetched = start_run(client, *NAMES), Folder(str(tmp_path / "fetched"))
    found = find_weights(client, run_id, str(tmp_path / "trials"), 7, digest_of(tmp_path, "run"), fetched)
    assert contents(found) == [f"{name} of the run".encode() for name in NAMES]
    assert found.uri == f"{tmp_path}/fetched/{run_id}"


def test_two_runs_are_fetched_beside_each_other(client: MlflowClient, tmp_path: Path) -> None:
    first, second, fetched = start_run(client, *NAMES), start_run(client, *NAMES), Folder(str(tmp_path))
    client.log_text(second, "others", f"{ARTIFACTS}/{CONFIG_FILE}")
    digests = (digest_of(tmp_path, "run"), digest_of(tmp_path, "run", config="others"))
    found = [
        find_weights(client, run_id, f"{tmp_path}/gone", 1, digest, fetched)
        for run_id, digest in zip((first, second), digests, strict=True)
    ]
    assert [contents(each)[1] for each in found] == [f"{CONFIG_FILE} of the run".encode(), b"others"]


def test_weights_that_nobody_has_any_more_are_an_error_in_a_line(client: MlflowClient, tmp_path: Path) -> None:
    fill(trial_folder(str(tmp_path / "trials"), 7), *NAMES)
    altered, bare = start_run(client, *NAMES), start_run(client)
    for run_id, reason in ((altered, "are not those that its training ended with"), (bare, "are neither in")):
        with pytest.raises(PipelineError, match=f"^the weights of run {run_id} {reason}"):
            find_weights(client, run_id, str(tmp_path / "trials"), 7, "0" * 64, Folder(str(tmp_path / "fetched")))


def test_runs_with_all_their_files_have_lost_nothing(client: MlflowClient) -> None:
    assert first_lost_weights(client, [start_run(client, *NAMES) for _ in range(3)]) is None
    assert first_lost_weights(client, []) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_gone_is_named(client: MlflowClient, name: str) -> None:
    whole, broken = start_run(client, *NAMES), start_run(client, *NAMES)
    artifact(client, broken, name).unlink()
    assert first_lost_weights(client, [whole, broken, whole]) == f"{ARTIFACTS}/{name} of run {broken[:8]}"


def test_a_run_that_never_had_weights_is_named(client: MlflowClient) -> None:
    bare = start_run(client)
    assert first_lost_weights(client, [bare]) == f"{ARTIFACTS}/{WEIGHTS_FILE} of run {bare[:8]}"


def test_a_deleted_run_is_named(client: MlflowClient) -> None:
    whole, deleted = start_run(client, *NAMES), start_run(client, *NAMES)
    client.delete_run(deleted)
    assert artifact(client, deleted, WEIGHTS_FILE).exists()  # MLflow keeps the files until `mlflow gc`
    assert first_lost_weights(client, [whole, deleted]) == f"run {deleted[:8]}"
    client.restore_run(deleted)
    assert first_lost_weights(client, [whole, deleted]) is None


def test_a_run_that_never_was_is_named(client: MlflowClient) -> None:
    assert first_lost_weights(client, ["0123456789abcdef" * 2]) == "run 01234567"


@pytest.mark.parametrize("method", ["get_run", "list_artifacts"])
def test_what_a_server_in_trouble_says_is_no_loss(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Otherwise everything would be trained again because a server was unreachable for a minute."""

    def in_trouble(*arguments: object) -> None:
        raise MlflowException("try later", error_code=TEMPORARILY_UNAVAILABLE)

    whole = start_run(client, *NAMES)
    monkeypatch.setattr(client, method, in_trouble)
    with pytest.raises(MlflowException, match="try later"):
        first_lost_weights(client, [whole])


def test_the_first_of_many_lost_ones_is_named(client: MlflowClient) -> None:
    whole = start_run(client, *NAMES)
    lost = [f"{number:032d}" for number in range(40)]
    assert first_lost_weights(client, [whole, *reversed(lost)]) == f"run {lost[-1][:8]}"
