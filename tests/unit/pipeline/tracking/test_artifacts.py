"""Tests of artifact jobs, which run in a separate process that yields to the trials and survives Ctrl-C."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest

from pipeline.errors import PipelineError
from pipeline.tracking.artifacts import ArtifactMaker, make_test_artifacts, make_trial_artifacts
from pipeline.trials.folder import CONFUSION_FILE, TrialHistory, write_confusion
from pipeline.trials.predictions import Predictions
from tests.deadline import DEADLINE
from vit.files.storage import CONFIG_FILE, WEIGHTS_FILE, Folder

ROOT = Path(__file__).parents[4]
PNG = b"\x89PNG"
# The job process imports the jobs by name, which it cannot do from a test module.
JOBS = """
import errno, json, os
def look(folder, *arguments):
    about = {"nice": os.nice(0), "pid": os.getpid(), "empty": not list(folder.iterdir()), "arguments": arguments}
    (folder / "about.json").write_text(json.dumps(about))
def half(folder):
    (folder / "checkpoint").mkdir()
    (folder / "figures.begun").mkdir()
    (folder / "figures.begun" / "curves.png").write_bytes(b"half")
def fail(folder, message):
    half(folder)
    raise ValueError(message)
def die(folder, kills):
    half(folder)
    with open(kills, "a") as file:
        file.write("x")
    os.kill(os.getpid(), 9)
def fill(folder):
    raise OSError(errno.ENOSPC, "No space left on device")
def die_once(folder, marker):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), 9)
    (folder / "done").write_text("second try")
def wait(folder, started, go_on):
    open(started, "w").close()  # pipes: each opening waits for the other side
    open(go_on).read()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "artifact_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("artifact_jobs")
    del sys.modules["artifact_jobs"]


@pytest.fixture(scope="module")
def maker() -> Iterator[ArtifactMaker]:
    maker = ArtifactMaker()
    yield maker
    maker.close()


def test_jobs_run_in_a_process_of_low_priority_and_folders_of_their_own(jobs: ModuleType) -> None:
    maker = ArtifactMaker()
    made: list[tuple[Path, dict[str, object]]] = []

    def read(folder: Path) -> None:
        made.append((folder, json.loads((folder / "about.json").read_text())))

    for number in range(3):
        maker.submit(jobs.look, number, "x", name="trial", then=read)
    maker.finish()
    assert [about["arguments"] for _, about in made] == [[0, "x"], [1, "x"], [2, "x"]]
    assert {about["nice"] for _, about in made} == {19} != {os.nice(0)}
    [worker] = {about["pid"] for _, about in made}
    assert worker != os.getpid()
    assert all(about["empty"] for _, about in made)
    folders = {folder for folder, _ in made}
    assert len(folders) == 3
    maker.close()
    assert not any(folder.exists() or folder.parent.exists() for folder in folders)


def test_a_job_that_fails_leaves_what_was_whole_and_a_warning_and_holds_up_no_other(
    maker: ArtifactMaker, jobs: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[list[str]] = []

    def look(folder: Path) -> None:
        received.append(sorted(path.name for path in folder.iterdir()))

    maker.submit(jobs.fail, "no such colour", name="trial-03", then=look)
    maker.submit(jobs.look, name="trial-04", then=look)
    for _ in range(2):
        maker.finish()
    assert received == [["checkpoint"], ["about.json"]]
    assert caplog.messages == [
        "figures of trial-03 are missing in MLflow, because they could not be drawn: no such colour"
    ]


def test_a_job_whose_process_is_killed_again_and_again_is_given_up(
    maker: ArtifactMaker, jobs: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[list[str]] = []
    kills = tmp_path / "kills"
    for name in ("trial-05", "trial-06"):
        maker.submit(jobs.die, str(kills), name=name, then=lambda folder: received.append(sorted(os.listdir(folder))))
    maker.submit(jobs.look, name="trial-07", then=lambda folder: received.append(sorted(os.listdir(folder))))
    for _ in range(2):
        maker.finish()
    assert received == [["checkpoint"], ["checkpoint"], ["about.json"]]
    assert len(kills.read_text()) == 4
    assert [message.partition(" are")[0] for message in caplog.messages] == [
        "figures of trial-05", "figures of trial-06",
    ]  # fmt: skip


def test_a_full_disk_is_received_once_and_at_the_end(maker: ArtifactMaker, jobs: ModuleType) -> None:
    received: list[Path] = []
    maker.submit(jobs.fill, name="trial-08", then=received.append)
    maker.submit(jobs.look, name="trial-09", then=received.append)
    with pytest.raises(OSError, match="No space left"):
        maker.finish()
    maker.finish()
    assert len(received) == 1


DRIVER = """
import os, signal, sys
from pipeline.tracking.artifacts import ArtifactMaker
import artifact_jobs
if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
    maker = ArtifactMaker()
    maker.submit(artifact_jobs.wait, sys.argv[1], sys.argv[2], name="x", then=lambda folder: print("drawn", flush=True))
    maker.finish()
    maker.close()
"""


@contextmanager
def drawing_driver(folder: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A driver whose side process has begun a job, which ends when something is written to `go_on` in the folder."""
    started = folder / "started"
    os.mkfifo(started)
    os.mkfifo(folder / "go_on")
    (folder / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment}
    line = [sys.executable, str(folder / "driver.py"), str(started), str(folder / "go_on")]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        try:
            started.open().close()
            yield driver
        finally:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)


def test_ctrl_c_leaves_the_side_process_alive(jobs: ModuleType, tmp_path: Path) -> None:
    with drawing_driver(tmp_path) as driver:
        assert driver.stdout is not None
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.stdout.readline() == "interrupted\n"
        (tmp_path / "go_on").write_text("")
        assert driver.stdout.readline() == "drawn\n"
        assert driver.wait(timeout=DEADLINE) == 0


def test_a_driver_that_is_killed_leaves_no_folder(jobs: ModuleType, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with drawing_driver(tmp_path, TMPDIR=str(temporary)) as driver:
        children = psutil.Process(driver.pid).children(recursive=True)
        assert [each.name[:14] for each in os.scandir(temporary) if each.is_dir()] == ["vit-artifacts-"]
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(children, timeout=DEADLINE)
    assert alive == []
    assert list(temporary.glob("vit-artifacts-*")) == []


@pytest.fixture
def ended(tmp_path: Path) -> Folder:
    """The folder of a trial that has ended after one epoch."""
    folder = Folder(str(tmp_path / "00003"))
    folder.write(WEIGHTS_FILE, b"weights")
    folder.write(CONFIG_FILE, b"config")
    history, loss = TrialHistory(), {"train/loss": 1.0, "val/loss": 1.0, "train/accuracy": 0.5}
    history.add(1, 0, {"val/accuracy": 0.5, **loss})
    write_confusion(folder, np.array([[1, 1], [0, 0]]))  # a class without validation images
    history.write(folder)
    return folder


def test_a_trials_artifacts(maker: ArtifactMaker, ended: Folder) -> None:
    contents: dict[str, bytes] = {}

    def read(out: Path) -> None:
        contents.update({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})

    maker.submit(make_trial_artifacts, ended.uri, "trial 3", ("a", "b"), name="trial 3", then=read)
    maker.finish()
    assert contents.pop(f"checkpoint/{WEIGHTS_FILE}") == b"weights"
    assert contents.pop(f"checkpoint/{CONFIG_FILE}") == b"config"
    assert contents.pop(f"checkpoint/{CONFUSION_FILE}") == ended.read(CONFUSION_FILE)
    names = [f"figures/{name}.png" for name in ("class_accuracy", "confusion_matrix", "curves")]
    assert sorted(contents) == names
    assert all(content.startswith(PNG) for content in contents.values())


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE, CONFUSION_FILE])
def test_a_trial_that_has_lost_a_file_is_an_error_that_says_what_to_do(ended: Folder, name: str) -> None:
    """The job process reports it each time the command is given, until the user has removed the folder."""
    maker = ArtifactMaker()
    ended.remove(name)
    try:
        maker.submit(make_trial_artifacts, ended.uri, "trial 3", ("a", "b"), name="trial 3", then=lambda out: None)
        what_to_do = "although its trial has ended: remove the trial's folder to run it again"
        message = f"{ended.uri}/{name} is missing, {what_to_do}"
        with pytest.raises(PipelineError, match=f"^{re.escape(message)}$"):
            maker.finish()
    finally:
        maker.close()


def test_the_test_images_artifacts(tmp_path: Path) -> None:
    probabilities = np.array([[0.75, 0.25], [0.5, 0.25], [1.0, 0.0], [0.0, 1.0]])
    predictions = Predictions.of(np.array([0, 1, 0, 1]), probabilities)
    make_test_artifacts(tmp_path, "trial 3", ("a", "b"), np.array([[2, 0], [1, 1]]), predictions)
    assert (tmp_path / "evaluation" / "test_predictions.csv").read_text().split() == [
        "label,predicted,confidence,label_probability", "0,0,0.75,0.75", "1,0,0.5,0.25", "0,0,1,1", "1,1,1,1",
    ]  # fmt: skip
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert figures == ["test_class_accuracy.png", "test_confusion_matrix.png"]


def test_a_job_whose_process_is_killed_is_done_by_another(jobs: ModuleType, tmp_path: Path) -> None:
    """When memory runs out, the system is likely to kill the process that draws; the sweep continues all the same."""
    maker, made = ArtifactMaker(), []
    marker = tmp_path / "killed once"
    maker.submit(
        jobs.die_once, str(marker), name="trial", then=lambda folder: made.append((folder / "done").read_text())
    )
    maker.submit(jobs.look, name="next", then=lambda folder: made.append("next"))
    maker.finish()
    maker.close()
    assert made == ["second try", "next"]
