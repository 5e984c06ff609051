"""Tests of notifications, which are sent to a real HTTP server and to real commands."""

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.promote.notification import check_target, notify
from tests.integration.commands import free_port

NO_HTTP = -1
"""Stands in the place of a status for an answer that is not HTTP."""
DECISION = {"event": "promoted", "model": "vit-x", "version": 2, "why": "naïve"}


class Hook(ThreadingHTTPServer):
    """A server that answers with each of `statuses` in turn, then always with 200, and keeps what it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.received: list[tuple[str, str | None, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, self.headers["Content-Type"], content))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == NO_HTTP:
            self.wfile.write(b"no HTTP\r\n")
        else:
            self.send_response(status)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_a_url_gets_the_decision(hook: Hook, capfd: pytest.CaptureFixture[str]) -> None:
    notify(hook.url, DECISION)
    assert hook.received == [("/hooks/secret", "application/json", DECISION)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("status", [503, NO_HTTP])
def test_a_server_that_stumbles_is_asked_once_more(hook: Hook, capfd: pytest.CaptureFixture[str], status: int) -> None:
    hook.statuses = [status]
    notify(hook.url, DECISION)
    assert (len(hook.received), capfd.readouterr().err) == (2, "")


@pytest.mark.parametrize(("statuses", "requests"), [([500, 502, 200], 2), ([404], 1), ([NO_HTTP] * 2, 2)])
def test_one_that_fails_is_a_warning_without_the_secret(
    hook: Hook, capfd: pytest.CaptureFixture[str], statuses: list[int], requests: int
) -> None:
    hook.statuses = statuses
    notify(hook.url, DECISION)
    assert len(hook.received) == requests
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"warning: the champion is changed, but --notify http://127.0.0.1:{hook.server_port} failed: "
    )
    assert "secret" not in line


def test_nobody_there_is_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    notify(f"http://127.0.0.1:{free_port()}/x", DECISION)
    (line,) = capfd.readouterr().err.splitlines()
    assert "refused" in line


def test_a_command_gets_it_on_stdin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a file"
    notify(
        f"{shlex.quote(sys.executable)} -c 'import sys; open(sys.argv[1], \"w\").write(sys.stdin.read())' '{file}'",
        DECISION,
    )
    assert json.loads(file.read_text()) == DECISION
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["false", "/no/such/program"])
def test_a_command_that_fails_is_a_warning(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    notify(command, DECISION)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: the champion is changed, but --notify {command} failed: ")


def test_what_is_neither_is_refused_before_anything_happens() -> None:
    for target in ("", "mail 'me", "  "):
        with pytest.raises(UsageError, match="--notify is"):
            check_target(target)
    check_target("mail -s 'new champion' me")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://[x/secret", "http://***, but must have a host, and a port from 1 to 65535 or none"),
        ("http:///secret", "http://***, but must have a host, and a port from 1 to 65535 or none"),
        ("http://host:x/secret", "http://***, but must have a host, and a port from 1 to 65535 or none"),
        ("http://host:0/secret", "http://***, but must have a host, and a port from 1 to 65535 or none"),
        ("https://host:99999/secret", "https://***, but must have a host, and a port from 1 to 65535 or none"),
        ("HTTP://host:80/a secret", "http://host:80, but must be of ASCII characters without spaces: write others as"),
        ("http://host/secr\xe9t", "http://host, but must be of ASCII characters without spaces: write others as"),
        ("http://me:secret@host/x", "http://host, but must have no login, which would not be sent"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_without_its_secret(url: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_target(url)
    assert str(refused.value).startswith(f"--notify is a URL of {reason}")
    assert "secret" not in str(refused.value)


def test_any_other_url_is_let_through() -> None:
    for url in ("https://host/hooks/T0?key=it's#x", "http://[::1]:5000/x", "http://host.example:65535"):
        check_target(url)
