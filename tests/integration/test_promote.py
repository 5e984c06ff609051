"""Tests `pipeline.promote`: its output and exit statuses, two promotions at the same time, and a `kill -9`."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipeline.promote.ledger_store import LedgerStore, LostRaceError
from pipeline.tracking.test_set_reads import count_test_set_reads
from tests.deadline import DEADLINE
from tests.integration.commands import ROOT, TrackingServer, run_here, start, wait_until
from tests.unit.pipeline.promote.decisions import decision
from tests.unit.pipeline.promote.registered_models import Versions, digits, new_model, save_named

QUICK = ("--max-latency-ratio", "100")
"""Keeps the latency gate from refusing a model on a busy machine; another test covers that gate."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save_named(folder, name) for name in ("good", "fair", "nearly fair")}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('promote')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Versions:
    return new_model(uri)


def where(versions: Versions) -> tuple[str, ...]:
    return ("--model", versions.name, "--tracking-uri", versions.client.tracking_uri)


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_here("pipeline.promote", ROOT, *arguments)


def assert_one_line(done: "subprocess.CompletedProcess[str]", status: int, *parts: str) -> None:
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


@pytest.mark.slow
def test_the_command_promotes_refuses_and_rolls_back(
    versions: Versions, files: dict[str, Path], tmp_path: Path
) -> None:
    result, told = tmp_path / "result.json", tmp_path / "told.json"
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    hook = ("--notify", shlex.join([sys.executable, "-c", program, str(told)]))
    versions.make_champion(versions.add(files["fair"]))

    versions.add(files["nearly fair"])
    refused = command(*where(versions), *QUICK, *hook, "--json", str(result))
    assert_one_line(refused, 3, "version 2", "is not promoted: accuracy: not proven: 340 against 339 of 359 right")
    assert "is refused" in refused.stdout
    assert "none worse by more than 5 points" in refused.stdout
    written = json.loads(result.read_text())
    assert (written["decision"]["event"], written["gate"]["passes"]) == ("refused", False)
    assert not told.exists()

    versions.add(files["good"])
    dry = command(*where(versions), *QUICK, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.endswith(f"{versions.name} version 3 would be promoted; nothing was changed\n")
    done = command(*where(versions), *QUICK, *hook, "--json", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()[-3:]
    assert said[0].startswith(f"{versions.name} version 3 is the champion (promoted): better: 359 against 339 of 359")
    assert said[1:] == [
        "  version 1 is now previous",
        f'  mlflow.pyfunc.load_model("models:/{versions.name}@champion")',
    ]
    written = json.loads(result.read_text())
    assert (written["model"], written["decision"]["version"], written["decision"]["replaced"]) == (versions.name, 3, 1)
    assert json.loads(told.read_text()) == written["decision"]

    back = command(*where(versions), *hook, "--rollback", "--reason", "it was too good")
    assert (back.returncode, versions.aliases()) == (0, {"champion": 1, "previous": 3})
    assert json.loads(told.read_text())["why"] == "it was too good"

    versions.make_challenger(2)
    forced = command(*where(versions), *QUICK, "--notify", "false", "--force", "--reason", "the customer insists")
    assert (forced.returncode, versions.aliases()["champion"]) == (0, 2)
    assert forced.stderr.startswith("warning: the champion is changed, but --notify false failed")

    shown = command(*where(versions), "--history", "--json", str(result))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "version 2 [champion]: 359 of 359" in shown.stdout
    assert "000004" in shown.stdout
    assert "the ledger is intact and has 4 entries" in shown.stdout
    entries = json.loads(result.read_text())["ledger"]["entries"]
    assert [(entry["event"], entry["from_version"], entry["to_version"]) for entry in entries] == [
        ("refused", 1, 2), ("promoted", 1, 3), ("rollback", 3, 1), ("forced", 1, 2),
    ]  # fmt: skip
    assert {entry["who"].rpartition("@")[2] for entry in entries} == {socket.gethostname()}

    versions.client.set_registered_model_tag(versions.name, "pipeline.ledger_mark", f"000004 {'0' * 64}")
    broken = command(*where(versions), "--history")
    assert_one_line(broken, 1, f"THE LEDGER OF {versions.name} IS BROKEN: entry 000004 was replaced")
    assert "000003" in broken.stdout


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong(uri: str, versions: Versions, tmp_path: Path) -> None:
    model = ("--model", versions.name, "--tracking-uri", uri)
    assert_one_line(command(), 2, "--dataset", "--model")
    assert_one_line(command("--model", "m/1"), 2, "--model is 'm/1'")
    assert_one_line(command("--dataset", "digits", "--tracking-uri", uri), 2, "no registered model vit-digits")
    assert_one_line(command(*model, "--rollback"), 2, "--rollback")
    assert_one_line(command(*model, "--force"), 2, "--force needs --reason")
    assert_one_line(command(*model, "--force", "--reason", "  "), 2, "--force needs --reason")
    assert_one_line(command(*model, "--reason", "why"), 2, "--reason can only be given with --force or --rollback")
    assert_one_line(command(*model, "--rollback", "--reason", "a\nb"), 2, "--reason must be one line")
    assert_one_line(command(*model, "--to", "3"), 2, "--to is 3", "--rollback")
    assert_one_line(command(*model, "--dry-run", "--force", "--reason", "x"), 2, "--force", "--dry-run")
    assert_one_line(command(*model, "--history", "--notify", "true"), 2, "--notify", "--history")
    assert_one_line(command(*model, "--rollback", "--force", "--reason", "x"), 2, "--force", "--rollback")
    assert_one_line(command(*model, "--notify", "mail 'me"), 2, "--notify is", "http(s) URL or a command")
    assert_one_line(command(*model, "--class-margin", "5"), 2, "--class-margin is 5", "from 0 to 1")
    assert_one_line(command(*model, "--max-size-ratio", "many"), 2, "--max-size-ratio")
    nowhere = f"sqlite:///{tmp_path}/none.db"
    assert_one_line(command("--dataset", "digits", "--tracking-uri", nowhere), 2, "no such database")
    assert not (tmp_path / "none.db").exists()
    missing = f"{tmp_path}/none/result.json"
    assert_one_line(command("--dataset", "digits", "--json", missing), 2, "--json", missing)


@pytest.mark.slow
def test_a_silent_server_costs_seconds() -> None:
    # The server accepts connections and never answers, which is worse than a closed port.
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        done = command("--dataset", "digits", "--tracking-uri", address)
        assert time.monotonic() - start < 10
    assert_one_line(done, 2, address, "does not answer")


def gates_under_way(versions: Versions) -> Callable[[int], bool]:
    """Returns a function that tells whether exactly this many gates are reading the test images."""
    home = versions.client.get_experiment_by_name(versions.name)
    assert home is not None
    running = "tags.`pipeline.kind` = 'gate' AND tags.`pipeline.test_opened` LIKE '%' AND attributes.status = 'RUNNING'"
    return lambda count: len(versions.client.search_runs([home.experiment_id], running)) == count


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(
    versions: Versions, files: dict[str, Path], tmp_path: Path
) -> None:
    """The first is suspended in its gate until the second is in its own, so that both challenge the same champion."""
    versions.make_champion(versions.add(files["fair"]))
    versions.add(files["good"])
    under_way = gates_under_way(versions)
    with start("pipeline.promote", tmp_path, *where(versions), *QUICK) as first:
        wait_until(lambda: under_way(1), first)
        psutil.Process(first.pid).suspend()
        with start("pipeline.promote", tmp_path, *where(versions), *QUICK) as second:
            wait_until(lambda: under_way(2), second)
            psutil.Process(first.pid).resume()
            said = [process.communicate(timeout=DEADLINE) for process in (first, second)]
    statuses = sorted((process.returncode, *output) for process, output in zip((first, second), said, strict=True))
    (won, out, silence), (lost, _, line) = statuses
    assert (won, silence, lost) == (0, "", 1)
    assert f"{versions.name} version 2 is the champion (promoted)" in out
    assert line.startswith("error: another command changed the champion in the meantime: ")
    assert len(line.splitlines()) == 1
    assert versions.aliases() == {"champion": 2, "previous": 1}
    ledger = LedgerStore(versions.client, versions.name).read_whole()
    assert [entry.decision.event for entry in ledger.entries] == ["promoted"]
    assert ledger.not_carried_out == ()
    assert under_way(0)


@pytest.mark.slow
def test_a_gate_that_is_killed_counts_as_a_read_and_the_doctor_ends_its_run(
    versions: Versions, files: dict[str, Path], tmp_path: Path
) -> None:
    versions.add(files["good"])
    under_way = gates_under_way(versions)
    reads = count_test_set_reads(versions.client, digits().test_digest)
    doctor = ("--tracking-uri", versions.client.tracking_uri, "--storage", str(tmp_path))
    with start("pipeline.promote", tmp_path, *where(versions), env={"TMPDIR": str(tmp_path)}) as process:
        wait_until(lambda: under_way(1), process)
        psutil.Process(process.pid).suspend()
        looked = run_here("pipeline.doctor", tmp_path, *doctor, "--fix")
        assert f"gate-version-1 of experiment {versions.name}" not in looked.stdout  # the gate is still running
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert count_test_set_reads(versions.client, digits().test_digest) == reads + 1
    assert versions.aliases() == {"challenger": 1}
    mended = run_here("pipeline.doctor", tmp_path, *doctor, "--fix")
    assert f"gate-version-1 of experiment {versions.name}" in mended.stdout
    assert under_way(0)
    assert command(*where(versions)).returncode == 0
    assert versions.aliases() == {"champion": 1}


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = TrackingServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server.uri
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["uri", "server_uri"])
def test_of_many_at_once_one_makes_the_ledger_and_one_writes_its_first_entry(
    store: str, request: pytest.FixtureRequest
) -> None:
    versions = new_model(request.getfixturevalue(store))
    start, told, written = threading.Barrier(4), [], []

    def decide(number: int) -> None:
        own = LedgerStore(MlflowClient(versions.client.tracking_uri), versions.name)
        seen = own.read_whole()
        start.wait()
        try:
            written.append(own.append(decision(number, model=versions.name), seen))
        except LostRaceError as error:
            told.append(str(error))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(written), len(told)) == (1, 3)
    ledger = LedgerStore(versions.client, versions.name).read_whole()
    assert ledger.entries == tuple(written)
    assert all(f"version {written[0].decision.to_version} of {versions.name}" in message for message in told)
    home = versions.client.get_experiment_by_name(versions.name)
    assert home is not None
    assert len(versions.client.search_runs([home.experiment_id], "tags.`pipeline.kind` = 'ledger'")) == 1


@pytest.mark.slow
def test_it_all_goes_through_a_tracking_server(files: dict[str, Path], server_uri: str) -> None:
    versions = new_model(server_uri)
    versions.make_champion(versions.add(files["fair"]))
    version = versions.add(files["good"])
    done = command(*where(versions), *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert versions.aliases() == {"champion": 2, "previous": 1}
    source = str(versions.client.get_model_version(versions.name, str(version)).source)
    verdicts = versions.client.list_logged_model_artifacts(source.removeprefix("models:/"), "gate")
    assert len(verdicts) == 1
    assert command(*where(versions), "--rollback").returncode == 0
    assert versions.aliases() == {"champion": 1, "previous": 2}
    shown = command(*where(versions), "--history")
    assert "the ledger is intact and has 2 entries" in shown.stdout
