"""The command that promotes: its exit statuses and its one-line errors."""

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.commands import ROOT, run_here
from tests.unit.pipeline.registry.model_versions import Versions, new_model


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('promote')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Versions:
    return new_model(uri)


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_here("pipeline.promote", ROOT, *arguments)


def _assert_one_line(done: "subprocess.CompletedProcess[str]", status: int, *parts: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


@pytest.mark.slow
def test_the_command_promotes_refuses_and_rolls_back(versions: Versions, tmp_path: Path) -> None:
    where = ("--model", versions.name, "--tracking-uri", versions.client.tracking_uri)
    versions.add(10)
    versions.promote()
    versions.add(11)
    result = tmp_path / "result.json"
    done = _command(*where, "--json", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{versions.name} version 2 is the champion: 11 of 100 test images right, more than the 10 of the champion,"
        " version 1",
        "  version 2: 11 of 100 test images right (11.00%), validation accuracy 50.00%",
        "  version 1, now previous: 10 of 100 test images right (10.00%), validation accuracy 50.00%",
        f'  mlflow.pyfunc.load_model("models:/{versions.name}@champion")',
    ]
    written = json.loads(result.read_text())
    assert (written["model"], written["version"], written["replaced"]) == (versions.name, 2, 1)

    versions.add(5)
    _assert_one_line(_command(*where), 3, "version 3", "5 of 100", "not more than the 11")

    assert _command(*where, "--rollback").returncode == 0
    assert versions.aliases() == {"champion": 1, "previous": 2, "challenger": 3}

    done = _command(*where, "--history", "--json", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert "version 1 [champion]: 10 of 100" in done.stdout
    written = json.loads(result.read_text())
    assert [decision["event"] for decision in written["history"]] == ["promote", "promote", "refused", "rollback"]
    assert [version["aliases"] for version in written["versions"]] == [["champion"], ["previous"], ["challenger"]]


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong(uri: str, versions: Versions, tmp_path: Path) -> None:
    _assert_one_line(_command(), 2, "--dataset", "--model")
    _assert_one_line(_command("--dataset", "digits", "--model", "m"), 2, "--model", "--dataset")
    _assert_one_line(_command("--model", "m/1"), 2, "--model is 'm/1'")
    _assert_one_line(_command("--dataset", "digits", "--tracking-uri", uri), 2, "no registered model vit-digits")
    _assert_one_line(_command("--model", versions.name, "--tracking-uri", uri, "--rollback"), 2, "--rollback")
    nowhere = f"sqlite:///{tmp_path}/none.db"
    _assert_one_line(_command("--dataset", "digits", "--tracking-uri", nowhere), 2, "no such database")
    assert not (tmp_path / "none.db").exists()
    missing = f"{tmp_path}/none/result.json"
    _assert_one_line(_command("--dataset", "digits", "--json", missing), 2, "--json", missing)


@pytest.mark.slow
def test_a_silent_server_costs_seconds() -> None:
    # It accepts connections and never answers: worse than a closed port.
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        done = _command("--dataset", "digits", "--tracking-uri", address)
        assert time.monotonic() - start < 10
    _assert_one_line(done, 2, address, "does not answer")
