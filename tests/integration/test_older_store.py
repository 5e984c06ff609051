"""Tests that `promote`, `report`, `doctor` and the UI still read a store that an older version of the project made.

`stores/before_the_folders.tar.gz` is what these commands left behind at commit 4014327; the last of them was killed by
`kill -9` in the middle of its search:

    pipeline.sweep --dataset digits --trials 2 --max-epochs 2 --finalists 1 --seeds 1 --train-limit 100 --precision fp32
    pipeline.promote --dataset digits
    pipeline.sweep ... --seed 1
    pipeline.sweep ... --seed 2 --trials 4 --max-epochs 200

Its database is stored as SQL; paths and the host name are replaced by `@STORE@` and `@HOST@`; weights, exported models
and pictures are empty files, which keeps the archive small.
"""

import json
import shutil
import socket
import sqlite3
import tarfile
import urllib.request
from pathlib import Path

import pytest

from pipeline.page.page import SECTIONS
from tests.html_page import HtmlPage
from tests.integration.commands import answers, client_of, free_port, run_here, runs_of, start, wait_until
from tests.unit.pipeline.promote.registered_models import save_model

pytestmark = pytest.mark.slow
ARCHIVE = Path(__file__).parent / "stores" / "before_the_folders.tar.gz"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        text = path.read_text().replace("@STORE@", str(tmp_path)).replace("@HOST@", socket.gethostname())
        path.write_text(text)
    database = sqlite3.connect(tmp_path / "mlflow.db")
    database.executescript((tmp_path / "mlflow.sql").read_text())
    database.close()
    return tmp_path


def champions(store: Path) -> dict[str, int]:
    aliases = client_of(store).get_registered_model("vit-digits").aliases
    return {name: int(version) for name, version in aliases.items()}


def test_its_challenger_is_promoted_and_its_champion_is_one_to_go_back_to(store: Path) -> None:
    """The old versions only name the data set, not its source. Real exported models replace the empty files."""
    broken = run_here("pipeline.promote", store, "--dataset", "digits")
    assert (broken.returncode, broken.stdout) == (3, "")
    assert "version 2 cannot be loaded from its files" in broken.stderr
    for version, wrong in ((1, range(30)), (2, range(5))):
        source = str(client_of(store).get_model_version("vit-digits", str(version)).source)
        files = store / "mlartifacts" / "vit-digits" / "models" / source.removeprefix("models:/") / "artifacts"
        shutil.rmtree(files)
        save_model(files, wrong, confidence=0.95)
    done = run_here("pipeline.promote", store, "--dataset", "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert "vit-digits version 2 is the champion (promoted): better: 354 against 329 of 359 right" in done.stdout
    assert champions(store) == {"champion": 2, "previous": 1}
    assert run_here("pipeline.promote", store, "--dataset", "digits", "--rollback").returncode == 0
    assert champions(store) == {"champion": 1, "previous": 2}
    history = run_here("pipeline.promote", store, "--dataset", "digits", "--history")
    assert "promote version 1: first champion, with 138 of 359 test images right" in history.stdout
    assert "the ledger is intact and has 2 entries" in history.stdout


def test_its_killed_sweep_is_found_and_mended(store: Path) -> None:
    done = run_here("pipeline.doctor", store, "--fix", "--json", "findings.json")
    assert done.stderr == ""
    findings = json.loads((store / "findings.json").read_text())["findings"]
    of_the_store = [finding for finding in findings if finding["kind"] not in ("ray", "group")]
    assert {finding["kind"]: finding["state"] for finding in of_the_store} == {
        "run": "mended", "unfinished": "information", "leftover": "mended",
    }  # fmt: skip
    assert "python -m pipeline.sweep --dataset digits --trials 4 --max-epochs 200" in done.stdout
    assert {run.info.status for run in runs_of(store)} == {"FINISHED", "KILLED"}


def test_why_its_trial_ended_is_still_known(store: Path) -> None:
    client = client_of(store)
    (sweep,) = [
        run for run in runs_of(store) if run.data.tags["pipeline.kind"] == "sweep" and run.info.status == "RUNNING"
    ]
    client.delete_run(sweep.info.run_id)  # the newest sweep, which was killed before any decision
    done = run_here("pipeline.sweep", store, "--dataset", "digits", "--why", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("was stopped by ASHA")
    assert "  epoch 1: validation" in done.stdout


def test_its_page_is_made_of_what_it_holds(store: Path) -> None:
    done = run_here("pipeline.report.__main__", store, "--out", "page.html", "--json", "made.json")
    assert (done.returncode, done.stderr) == (0, "")
    left_out = json.loads((store / "made.json").read_text())["left_out"]
    assert left_out.keys() == {"confirm", "classes", "confusions", "mistakes", "audit"}
    page = HtmlPage((store / "page.html").read_text(encoding="utf-8"))
    assert page.sections == [anchor for anchor, _, _ in SECTIONS]
    assert "stages" in page.text and "curves-chart-2" in page.charts


def test_its_page_is_written_here_whatever_the_sweep_is_called(store: Path) -> None:
    run_here("pipeline.report.__main__", store, "--out", "page.html", "--json", "made.json")
    made, client = json.loads((store / "made.json").read_text()), client_of(store)
    client.update_run(made["run_id"], name="team/best")
    done = run_here("pipeline.report.__main__", store, made["run_id"])
    client.update_run(made["run_id"], name=made["sweep"])
    assert (done.returncode, done.stderr) == (0, "")
    assert (store / "best.html").is_file()


def test_the_ui_shows_it(store: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with start("pipeline.ui", store, "--port", str(port)) as server:
        wait_until(lambda: answers(address), server)
        question = json.dumps({"experiment_ids": ["1"], "filter": "tags.`pipeline.kind` = 'sweep'"}).encode()
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search", question, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert len(json.load(answer)["runs"]) == 3
        server.terminate()
        server.wait(30)
