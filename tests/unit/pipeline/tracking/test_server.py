"""Tests that tracking URIs that cannot be used are refused within seconds, each with its reason."""

import errno
import fcntl
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.tracking.server import open_client, refuse_missing_database, refuse_unreachable
from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.db").write_text("not a database, but text")
    (tmp_path / "empty.db").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "sqlite:///{}/none/mlflow.db",
            "--tracking-uri names {0}/none/mlflow.db, but the folder {0}/none does not exist",
        ),
        ("sqlite:///{}", "--tracking-uri names {0}, but that is a folder and not a SQLite database"),
        ("sqlite:///{}/text.db", "--tracking-uri names {0}/text.db, but that file is not a SQLite database"),
        ("file:./mlruns", "--tracking-uri is 'file:./mlruns', but must be sqlite:///FILE"),
        ("file://{}/mlruns", "--tracking-uri is 'file://{0}/mlruns', but must be sqlite:///FILE"),
        ("mlruns", "--tracking-uri is 'mlruns', but must be sqlite:///FILE"),
        ("", "--tracking-uri is '', but must be sqlite:///FILE"),
    ],
)
def test_what_is_no_store_is_refused(folder: Path, uri: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_unreachable(uri.format(folder))
    assert str(refused.value).startswith(message.format(folder))


def test_a_database_may_be_new_or_empty(folder: Path) -> None:
    before = sorted(folder.iterdir())
    refuse_unreachable(f"sqlite:///{folder}/new.db")
    refuse_unreachable(f"sqlite:///{folder}/empty.db")
    refuse_unreachable(f"sqlite:///{folder}/new.db?timeout=5")
    assert sorted(folder.iterdir()) == before  # the check creates nothing


def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(PipelineError, match=f"the tracking server {uri} does not answer .*refused") as refused:
        refuse_unreachable(uri)
    assert time.monotonic() - started < 2
    assert refused.value.status == 2


@pytest.mark.slow
def test_a_server_that_takes_the_connection_and_is_silent_is_refused_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(PipelineError, match=f"the tracking server {uri} does not answer .*timed out"):
            refuse_unreachable(uri)
        assert time.monotonic() - started < 8


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *about: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_gives_its_experiments_is_taken() -> None:
    with answering(200) as uri:
        refuse_unreachable(uri)
        refuse_unreachable(f"{uri}/")


@pytest.mark.parametrize(
    ("status", "message"), [(401, "wants a login"), (403, "may you read them"), (404, "is it an MLflow server")]
)
def test_a_server_that_gives_none_is_refused(status: int, message: str) -> None:
    with answering(status) as uri, pytest.raises(UsageError, match=f"^the tracking server {uri} .*{message}"):
        refuse_unreachable(uri)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_in_trouble_is_refused(status: int) -> None:
    with answering(status) as uri, pytest.raises(PipelineError, match=f"does not answer .it answers {status}"):
        refuse_unreachable(uri)


def test_a_database_to_read_must_exist(folder: Path) -> None:
    refuse_missing_database(f"sqlite:///{folder}/empty.db")
    refuse_missing_database("http://host:5000")
    missing = f"sqlite:///{folder}/none.db"
    with pytest.raises(UsageError, match=f"--tracking-uri is {missing}, but there is no such database"):
        refuse_missing_database(missing)
    assert not (folder / "none.db").exists()


def test_a_file_system_without_locks_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*anything: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UsageError) as refused:
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "vit-x")
    assert str(refused.value) == (
        f"--tracking-uri names {tmp_path}/mlflow.db, whose file system does not support file locks (No locks"
        " available): name a file on a local disk, or a server"
    )


def test_processes_that_open_a_new_database_at_once_all_succeed(tmp_path: Path) -> None:
    code = "import sys; from pipeline.tracking.server import prepare_mlflow; prepare_mlflow();"
    code += "from pipeline.tracking.tracker import Tracker; Tracker(sys.argv[1], 'vit-x').close()"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/mlflow.db"]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate(timeout=DEADLINE)[1], process.returncode) for process in started]
    assert [status for _, status in ended] == [0, 0], ended


def test_unusable_tracking_uris(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database, but text")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(PipelineError, match="MLflow cannot open sqlite"):
        open_client(f"sqlite:///{broken}")
    for uri, rule in (
        (f"sqlite:///{tmp_path}/none/mlflow.db", "does not exist"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        (f"sqlite:///{text}", "is not a SQLite database"),
        ("mlruns", "must be sqlite:///FILE"),
    ):
        with pytest.raises(UsageError, match=f"--tracking-uri .*{rule}"):
            refuse_unreachable(uri)
    with pytest.raises(UsageError, match="does not answer"):
        refuse_unreachable("http://127.0.0.1:9")
    new = f"sqlite:///{tmp_path}/new.db"
    refuse_unreachable(new)
    with pytest.raises(UsageError, match="no such database"):
        refuse_missing_database(new)
