"""Tests that a team's server keeps everything: when a store moves in, through a power cut, and in a backup."""

import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.registry.model_files import missing_files
from pipeline.registry.passport import DataFacts
from pipeline.registry.registration import register
from pipeline.registry.versions import TestFigures
from pipeline.tracking.server import open_client
from tests.deadline import DEADLINE
from tests.integration.commands import (
    ROOT,
    client_of,
    run_here,
    runs_of,
    start,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import SEARCH_STAGES, assert_curves, epochs_of, history_of, trial_path
from tests.integration.team_server import TeamServer, team_server
from tests.store_contents import contents
from tests.unit.pipeline.registry.passports import passport
from vit.data.dataset import DataConfig, load_dataset
from vit.files.storage import Folder

pytestmark = pytest.mark.slow

ALICE, BERT = ("alice", "alices-password-1"), ("bert", "berts-password-12")
TINY = (
    "--dataset", "digits", "--trials", "2", "--max-epochs", "2", "--grace-epochs", "1", "--finalists", "1",
    "--seeds", "1", "--precision", "fp32", "--max-concurrent", "1", "--train-limit", "300",
)  # fmt: skip
README = (ROOT / "mlflow/README.md").read_text()


def readme_block(heading: str, folder: Path, number: int = 0) -> str:
    """Returns a block of commands below a heading of the README, for a server in this folder."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return blocks[number].replace("/srv/mlflow", str(folder))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """A running server that has its users."""
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
    search = (*TINY, "--until", "search")
    done = run_here("pipeline.sweep", tmp_path, *search)
    assert done.returncode == 0, done.stdout + done.stderr
    register_trial(open_client(f"sqlite:///{tmp_path}/mlflow.db"), trial_runs_of(tmp_path)[0], tmp_path)
    forced = ("--force", "--reason", "it guesses, and moves in all the same")
    assert run_here("pipeline.promote", tmp_path, "--dataset", "digits", *forced).returncode == 0

    command = readme_block("Moving in", server.folder).replace("sqlite:///", f"sqlite:///{tmp_path}/")
    killed_while_copying(server, command)
    moved, again = (server.run("bash", "-euc", command) for _ in range(2))
    assert (moved.returncode, moved.stderr) == (0, ""), moved.stderr
    assert "all there, 0 rows new; each row and file was read back" in again.stdout, again.stdout + again.stderr
    client = client_as(server, ALICE, monkeypatch)
    after = contents(client)
    assert after == contents(client_of(tmp_path))
    assert after["registered models"]["vit-digits"][2] == {"champion": "1"}
    assert missing_files(client, str(client.get_model_version("vit-digits", "1").source)) is None

    done = run_here("pipeline.sweep", tmp_path, *search, "--tracking-uri", server.uri)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(\w+): cached from run \w+ \(", done.stdout, re.MULTILINE) == list(SEARCH_STAGES), done.stdout
    assert "MLflow server" not in done.stdout
    done = run_here("pipeline.promote", tmp_path, "--dataset", "digits", "--history")
    assert "version 1 [champion]" in done.stdout


def register_trial(client: MlflowClient, run: Run, folder: Path) -> int:
    """Registers a trial of the sweep in this folder as a version, as the stages after the search would."""
    digits = load_dataset(DataConfig("digits"))
    weights = Folder(str(trial_path(folder / "sweeps", int(run.data.tags["pipeline.trial"]))))
    facts = DataFacts("digits", DataConfig("digits"), digits.digest, 300, 100, digits.class_names)
    measured = TestFigures(digits.test_digest, test_correct=100, test_images=359, val_accuracy=0.5)
    known = passport("vit-digits", run.info.run_id, measured, data=facts)
    known = replace(known, figures=replace(known.figures, test_class_accuracy=(0.5,) * 10))
    return register(client, known, weights, digits.validation.images[:2])


def killed_while_copying(server: TeamServer, command: str) -> None:
    """Starts the command, and kills it once some file has been copied: all files come before the first run."""
    begun = [*server.as_user(), "bash", "-euc", command.replace("python -m", f"exec {sys.executable} -m")]
    environment = {**server.database_environment(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(begun, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any((server.folder / "artifacts").rglob("*.json")):
            assert process.poll() is None, "it ended before it copied anything"
        process.kill()
    assert process.returncode == -9


def test_two_sweeps_at_once_lose_nothing_when_the_power_fails(server: TeamServer, tmp_path: Path) -> None:
    people = {ALICE: tmp_path / "alice", BERT: tmp_path / "bert"}
    # MLflow itself gives up soon, and the tracker retries.
    environments = {who: {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", **server.login(*who)} for who in people}
    for folder in people.values():
        folder.mkdir()
    # They use different images, so that neither can reuse the other's stages.
    search = (*TINY, "--until", "search", "--train-limit")
    with (
        start("pipeline.sweep", people[ALICE], *search, "310", env=environments[ALICE]) as first,
        start("pipeline.sweep", people[BERT], *search, "320", env=environments[BERT]) as second,
    ):
        for process, folder in zip((first, second), people.values(), strict=True):
            wait_until(lambda folder=folder: epochs_of(folder / "sweeps", 0) >= 1, process)  # type: ignore[misc]
        server.kill()
        server.start()
        for process in (first, second):
            stdout, stderr = process.communicate(timeout=DEADLINE)
            assert process.returncode == 0, stdout + stderr
            assert "Traceback" not in stdout + stderr
    with pytest.MonkeyPatch.context() as patch:
        client = client_as(server, ALICE, patch)
        for who, folder in people.items():
            assert_whole(client, who[0], folder)
        trial = next(run for run in trial_runs_of(server.uri) if run.data.tags["mlflow.user"] == ALICE[0])
        version = client.get_model_version("vit-digits", str(register_trial(client, trial, people[ALICE])))
        assert (version.run_id, version.status) == (trial.info.run_id, "READY")


def assert_whole(client: MlflowClient, user: str, folder: Path) -> None:
    """Checks that all of a user's search is recorded once, as this user's own."""
    runs = [run for run in runs_of(client.tracking_uri) if run.data.tags.get("mlflow.user") == user]
    assert len({run.data.tags["pipeline.record"].partition("/")[0] for run in runs}) == 1
    kinds = Counter(run.data.tags["pipeline.kind"] for run in runs)
    assert kinds == Counter(sweep=1, stage=len(SEARCH_STAGES), trial=2)
    assert {run.data.tags["pipeline.stage"] for run in runs if "pipeline.stage" in run.data.tags} == set(SEARCH_STAGES)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        if run.data.tags["pipeline.kind"] == "trial":
            assert_curves(client, run, history_of(folder / "sweeps", int(run.data.tags["pipeline.trial"])))


def test_a_backup_restored_into_another_folder_holds_all_and_ends_orderly(
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
        restored = client_as(other, ALICE, monkeypatch)  # with her password, which the backup also holds
        assert contents(restored) == before
        assert Path(restored.download_artifacts(run, "file.txt", str(tmp_path))).read_text() == "a file"
        assert other.end() == 0


def test_it_ends_when_its_database_has_ended(server: TeamServer) -> None:
    """So systemd starts both again; MLflow alone would go on, and answer with errors."""
    (pid, *_) = (server.folder / "postgresql/postmaster.pid").read_text().splitlines()
    psutil.Process(int(pid)).send_signal(signal.SIGINT)  # by which PostgreSQL ends at once, and in good order
    assert server.wait() == 1
    assert server.printed().endswith(f"error: PostgreSQL has ended, see {server.folder}/log/postgresql.log\n")
