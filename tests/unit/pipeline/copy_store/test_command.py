"""Tests what the command prints, and that it does not create a database if there is none."""

from pathlib import Path

import pytest

from tests.integration.commands import run_here
from tests.store_contents import contents
from tests.unit.pipeline.copy_store.stores import client_of

COMMAND = "pipeline.copy_store.__main__"


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        (
            "http://somebody:secret@host:5000",
            2,
            "--to is http://***@host:5000, but must be the server's database, such as",
        ),
        ("sqlite:///none.db", 2, "--to is sqlite:///none.db, but there is no such database"),
        ("no uri", 2, "--to is no uri, but must be a database's URI, such as sqlite:///mlflow.db"),
        (
            "postgresql+psycopg2://a:b@/x?host=/none",
            1,
            "--to is postgresql+psycopg2://***@/x?host=/none, which cannot be",
        ),
    ],
)
def test_a_target_that_is_no_database(own: Path, target: str, status: int, message: str) -> None:
    before = sorted(own.iterdir())
    done = run_here(COMMAND, own, "--to", target, "--artifacts", "artifacts")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (status, "", 1)
    assert done.stderr.startswith(f"error: {message}")
    assert sorted(own.iterdir()) == before


def test_a_database_without_a_store(own: Path) -> None:
    (own / "empty.db").touch()
    done = run_here(COMMAND, own, "--to", "sqlite:///empty.db", "--artifacts", "artifacts")
    assert done.returncode == 2
    assert done.stderr.endswith("but MLflow has no tables there: start the server on it once\n")


@pytest.mark.parametrize("artifacts", ["foo://x", "file/below"])
def test_artifacts_that_cannot_be_written(own: Path, team: Path, artifacts: str) -> None:
    (own / "file").touch()
    before = contents(client_of(team))
    done = run_here(COMMAND, own, "--to", f"sqlite:///{team}/mlflow.db", "--artifacts", artifacts)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(f"error: --artifacts is {artifacts}, but must be a folder or URI that can be written")
    assert contents(client_of(team)) == before


def test_it_says_what_was_copied(own: Path, team: Path) -> None:
    arguments = ("--to", f"sqlite:///{team}/mlflow.db", "--artifacts", str(team / "artifacts"), "--json", "copied.json")
    done = run_here(COMMAND, own, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 runs, 4 metric values, 2 model versions, 4 files (0.0 MB): all there" in done.stdout
    assert '"vit-x": 2' in (own / "copied.json").read_text()
    client_of(team).set_registered_model_alias("vit-x", "champion", "2")
    done = run_here(COMMAND, own, *arguments)
    assert "kept: 1 rows of registered_model_aliases that differ in --to since they were copied" in done.stdout
