"""What lasts at a team's server: a store that moves in, two sweeps at once through a power cut, a restored backup."""

import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.tracking.server import open_client
from tests.integration.commands import ROOT, client_of, run_here, runs_of, start, wait_until
from tests.integration.sweeps import assert_curves, epochs_of, history_of
from tests.integration.team_server import ADMIN, TeamServer, team_server
from tests.store_contents import contents

pytestmark = pytest.mark.slow

ALICE, BERT = ("alice", "alices-password-1"), ("bert", "berts-password-12")
TINY = (
    "--dataset", "digits", "--trials", "2", "--max-epochs", "2", "--grace-epochs", "1", "--finalists", "1",
    "--seeds", "1", "--precision", "fp32", "--max-concurrent", "1",
)  # fmt: skip
STAGES = ("prepare", "search", "baseline", "confirm", "evaluate", "register", "report")
README = (ROOT / "mlflow/README.md").read_text()


def readme_block(heading: str, folder: Path, number: int = 0) -> str:
    """A block of commands below a heading, for a server in this folder."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return blocks[number].replace("/srv/mlflow", str(folder))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """It runs, and its users are there."""
    with team_server(tmp_path_factory.mktemp("team") / "server", socket.gethostname()) as it:
        it.start()
        for who in (ALICE, BERT):
            assert it.add_user(*who, "trainer").returncode == 0
        yield it


def client_as(server: TeamServer, who: tuple[str, str], patch: pytest.MonkeyPatch) -> MlflowClient:
    for name, value in server.login(*who).items():
        patch.setenv(name, value)
    return open_client(server.uri)


def test_a_store_moves_in_and_its_stages_stay_cached(
    server: TeamServer, local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = (*TINY, "--train-limit", "300")
    done = run_here("pipeline.sweep", tmp_path, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_here("pipeline.promote", tmp_path, "--dataset", "digits").returncode == 0

    command = readme_block("Moving in", server.folder).replace("sqlite:///", f"sqlite:///{tmp_path}/")
    killed_while_copying(server, command)
    moved, again = (server.run("bash", "-euc", command) for _ in range(2))
    assert (moved.returncode, moved.stderr) == (0, ""), moved.stderr
    assert "all there, 0 rows new; each row and file was read back" in again.stdout, again.stdout + again.stderr
    before, after = contents(client_of(tmp_path)), contents(client_as(server, ALICE, monkeypatch))
    assert after == before
    assert after["registered models"]["vit-digits"][2] == {"champion": "1"}

    done = run_here("pipeline.sweep", tmp_path, *sweep, "--tracking-uri", server.uri)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(\w+): cached from run \w+ \(", done.stdout, re.MULTILINE) == list(STAGES), done.stdout
    assert "MLflow server" not in done.stdout
    done = run_here("pipeline.promote", tmp_path, "--dataset", "digits", "--history")
    assert "version 1 [champion]" in done.stdout


def killed_while_copying(server: TeamServer, command: str) -> None:
    """Begins it, and kills it once some file is there and no run is."""
    begun = [*server.as_user(), "bash", "-euc", command.replace("python -m", f"exec {sys.executable} -m")]
    environment = {**server.database_environment(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(begun, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any((server.folder / "artifacts").rglob("*.json")):
            assert process.poll() is None, "it ended before it copied anything"
        process.kill()
    assert process.returncode == -9


@pytest.mark.timeout(600)
def test_two_sweeps_at_once_lose_nothing_when_the_power_fails(server: TeamServer, tmp_path: Path) -> None:
    people = {ALICE: tmp_path / "alice", BERT: tmp_path / "bert"}
    # MLflow itself gives up soon, and the tracker asks again.
    environments = {who: {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", **server.login(*who)} for who in people}
    for folder in people.values():
        folder.mkdir()
    # On different images, so that neither has the other's stages to reuse.
    with (
        start("pipeline.sweep", people[ALICE], *TINY, "--train-limit", "310", env=environments[ALICE]) as first,
        start("pipeline.sweep", people[BERT], *TINY, "--train-limit", "320", env=environments[BERT]) as second,
    ):
        for process, folder in zip((first, second), people.values(), strict=True):
            wait_until(lambda folder=folder: epochs_of(folder / "sweeps", 0) >= 1, process)  # type: ignore[misc]
        server.kill()
        server.start()
        for process in (first, second):
            stdout, stderr = process.communicate(timeout=280)
            assert process.returncode == 0, stdout + stderr
            assert "Traceback" not in stdout + stderr
    with pytest.MonkeyPatch.context() as patch:
        client = client_as(server, ALICE, patch)
        for (name, _), folder in people.items():
            assert_whole(client, name, folder)


def assert_whole(client: MlflowClient, user: str, folder: Path) -> None:
    """All that somebody's sweep did is recorded once, as the user's own, and its model is registered."""
    runs = [run for run in runs_of(client.tracking_uri) if run.data.tags.get("mlflow.user") == user]
    assert len({run.data.tags["pipeline.record"].partition("/")[0] for run in runs}) == 1
    kinds = Counter(run.data.tags["pipeline.kind"] for run in runs)
    assert kinds == {"sweep": 1, "stage": len(STAGES), "trial": 2, "finalist": 2}
    assert {run.data.tags["pipeline.stage"] for run in runs if "pipeline.stage" in run.data.tags} == set(STAGES)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        if run.data.tags["pipeline.kind"] == "trial":
            assert_curves(client, run, history_of(folder / "sweeps", int(run.data.tags["pipeline.trial"])))
    ids = {run.info.run_id for run in runs}
    assert len([each for each in client.search_model_versions("name='vit-digits'") if each.run_id in ids]) == 1


def test_a_backup_restored_into_another_folder_holds_all(
    server: TeamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_as(server, ALICE, monkeypatch)
    run = client.create_run(client.create_experiment("vit-backed-up")).info.run_id
    client.log_text(run, "a file", "file.txt")
    before = contents(client)
    done = server.run("bash", "-euc", readme_block("Backup and restore", server.folder))
    assert (done.returncode, done.stderr) == (0, "")
    with team_server(tmp_path / "restored", socket.gethostname()) as other:
        other.start("--database-only")
        for name in ("mlflow.dump", "mlflow_auth.dump", "artifacts.tar"):
            (server.folder / name).rename(other.folder / name)
        for block in (readme_block("Backup and restore", other.folder, 1), readme_block("Upgrading", other.folder)):
            done = other.run("bash", "-euc", block)
            assert done.returncode == 0, done.stderr
        assert other.end() == 0
        other.start()
        restored = client_as(other, ALICE, monkeypatch)  # with her password, which is in the backup too
        assert contents(restored) == before
        assert Path(restored.download_artifacts(run, "file.txt", str(tmp_path))).read_text() == "a file"


def test_it_ends_orderly_and_goes_on_in_its_folder(server: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(client_as(server, ADMIN, monkeypatch))
    assert server.end() == 0
    server.start()
    assert contents(client_as(server, ADMIN, monkeypatch)) == before
