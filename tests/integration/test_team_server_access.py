"""Tests who may do what on a team's server that is started without Docker, as `mlflow/README.md` describes."""

import base64
import json
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from mlflow import MlflowClient

from pipeline.errors import UsageError
from pipeline.tracking.server import open_client, refuse_unreachable
from tests.integration.commands import run_here
from tests.integration.team_server import ADMIN, SECRETS, TeamServer, team_server

pytestmark = pytest.mark.slow

HOST = socket.gethostname()
ALICE, TRAINER = ("alice", "alices-password-1"), ("bert", "berts-password-12")
PROMOTER, READER = ("petra", "petras-password-1"), ("ruth", "ruths-password-12")
STRANGER = ("otto", "ottos-password-12")
"""The stranger has a login and no role."""
ROLES = {ALICE: "trainer", TRAINER: "trainer", PROMOTER: "promoter", READER: "reader"}
KEPT_APART = "what only the team may read"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """A running server that has its users."""
    with team_server(tmp_path_factory.mktemp("team") / "server", HOST) as it:
        it.start()
        for (name, password), role in ROLES.items():
            done = it.add_user(name, password, role)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} is a {role}\n", "")
        ask(it, ADMIN, "POST", "/api/2.0/mlflow/users/create", {"username": STRANGER[0], "password": STRANGER[1]})
        yield it


@pytest.fixture
def as_alice(server: TeamServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return client_as(server, ALICE, monkeypatch)


def client_as(server: TeamServer, who: tuple[str, str], patch: pytest.MonkeyPatch) -> MlflowClient:
    for name, value in server.login(*who).items():
        patch.setenv(name, value)
    return open_client(server.uri)


def ask(
    server: TeamServer,
    who: tuple[str, str] | None,
    method: str,
    path: str,
    content: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Returns the status and the answer of a request with a user's login, or with none."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    if who is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
    data = None if content is None else json.dumps(content).encode()
    try:
        with urlopen(Request(f"{server.uri}{path}", data, headers, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def guarded(server: TeamServer) -> dict[str, str]:
    """The ids of a run, its experiment and its model, all of which contain the text `KEPT_APART`."""
    with pytest.MonkeyPatch.context() as patch:
        client = client_as(server, ALICE, patch)
        experiment = client.create_experiment("vit-guarded", tags={"note": KEPT_APART})
        run = client.create_run(experiment, tags={"note": KEPT_APART}).info.run_id
        client.log_text(run, KEPT_APART, "secret.txt")
        model = client.create_logged_model(experiment, "model", run, tags={"note": KEPT_APART}).model_id
        client.create_registered_model("vit-guarded", description=KEPT_APART)
        client.create_model_version("vit-guarded", f"models:/{model}", run, description=KEPT_APART, model_id=model)
    return {"experiment": experiment, "run": run, "model": model}


Asked = tuple[str, str, Any]
"""The method, path and content of a request, with the names of the `guarded` ids in braces."""
GRAPHQL = '{{ mlflowGetRun(input: {{runId: "{run}"}}) {{ run {{ data {{ tags {{ value }} }} }} }} }}'
READS: tuple[Asked, ...] = (
    ("GET", "/api/2.0/mlflow/experiments/get?experiment_id={experiment}", None),
    ("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 100}),
    ("GET", "/api/2.0/mlflow/runs/get?run_id={run}", None),
    ("POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{experiment}"]}),
    ("POST", "/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": ["{experiment}"]}),
    ("GET", "/ajax-api/2.0/mlflow/runs/get?run_id={run}", None),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/secret.txt", None),
    ("GET", "/ajax-api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/secret.txt", None),
    ("GET", "/get-artifact?path=secret.txt&run_uuid={run}", None),
    ("GET", "/api/2.0/mlflow/logged-models/{model}", None),
    ("GET", "/api/2.0/mlflow/registered-models/get?name=vit-guarded", None),
    ("GET", "/api/2.0/mlflow/registered-models/search", None),
    ("GET", "/api/2.0/mlflow/model-versions/get?name=vit-guarded&version=1", None),
    ("GET", "/api/2.0/mlflow/model-versions/search", None),
    ("POST", "/graphql", {"query": GRAPHQL}),
)
WRITES: tuple[Asked, ...] = (
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/secret.txt", "mine"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/more.txt", "mine"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/secret.txt", None),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=more.txt", "mine"),
    ("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "{experiment}"}),
    ("POST", "/api/2.0/mlflow/runs/set-tag", {"run_id": "{run}", "key": "note", "value": "mine"}),
    ("POST", "/api/2.0/mlflow/runs/delete", {"run_id": "{run}"}),
    ("POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": "{experiment}"}),
    ("POST", "/api/2.0/mlflow/registered-models/alias", {"name": "vit-guarded", "alias": "champion", "version": "1"}),
    ("POST", "/api/2.0/mlflow/users/create", {"username": "eve", "password": "eves-password-1234"}),
    ("PATCH", "/api/2.0/mlflow/users/update-admin", {"username": "otto", "is_admin": True}),
    ("PATCH", "/api/2.0/mlflow/users/update-password", {"username": "admin", "password": "eves-password-1234"}),
)  # fmt: skip
PAGES = ("/", "/version", "/signup", "/metrics")


def filled(guarded: dict[str, str], request: Asked) -> Asked:
    """Returns the request with the guarded ids filled in."""
    method, path, content = request
    if isinstance(content, dict):
        content = {name: fill(value, guarded) for name, value in content.items()}
    return method, path.format(**guarded), content


def fill(value: Any, guarded: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [fill(each, guarded) for each in value]
    return value.format(**guarded) if isinstance(value, str) else value


@pytest.mark.parametrize("who", [None, ("alice", "wrong-password-1"), ("nobody", "at-all-in-there")])
def test_without_a_right_password_nothing_is_answered(
    server: TeamServer, guarded: dict[str, str], who: tuple[str, str] | None
) -> None:
    requests = [filled(guarded, request) for request in (*READS, *WRITES)] + [("GET", page, None) for page in PAGES]
    for request in requests:
        assert ask(server, who, *request)[0] == 401, request


def test_of_all_paths_that_the_server_has_only_four_need_no_password(server: TeamServer) -> None:
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app as interface

    rules = {(rule.rule, method) for rule in pages.url_map.iter_rules() for method in rule.methods or ()}
    rules |= {(route.path, method) for route in interface.routes for method in getattr(route, "methods", None) or ()}
    asked = {(path, method) for path, method in rules if method not in ("OPTIONS", "HEAD")}
    assert len(asked) > 300
    answered = {path for path, method in asked if ask(server, None, method, re.sub("[<>{}]", "", path))[0] != 401}
    public = {"/health", "/static-files/<path:path>", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"}
    assert answered == public


def test_who_has_no_role_sees_and_changes_nothing(server: TeamServer, guarded: dict[str, str]) -> None:
    for request in READS:
        status, answer = ask(server, STRANGER, *filled(guarded, request))
        assert status in (200, 403), request
        assert KEPT_APART not in answer, request
        # That a reader gets the text shows that the request itself is right.
        assert KEPT_APART in ask(server, READER, *filled(guarded, request))[1], request
    for request in WRITES:
        assert ask(server, STRANGER, *filled(guarded, request))[0] == 403, request


def test_a_reader_changes_nothing(server: TeamServer, guarded: dict[str, str], as_alice: MlflowClient) -> None:
    for request in WRITES:
        assert ask(server, READER, *filled(guarded, request))[0] == 403, request
    assert as_alice.get_run(guarded["run"]).data.tags["note"] == KEPT_APART
    assert [file.path for file in as_alice.list_artifacts(guarded["run"])] == ["secret.txt"]
    assert as_alice.get_registered_model("vit-guarded").aliases == {}


def test_commands_say_in_a_line_that_the_login_is_wrong(server: TeamServer, tmp_path: Path) -> None:
    for command in (
        ("pipeline.sweep", "--dataset", "digits"),
        ("pipeline.promote", "--dataset", "digits"),
        ("pipeline.doctor",),
    ):
        done = run_here(command[0], tmp_path, *command[1:], env=server.login(ALICE[0], "wrong-password-1"))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"error: the tracking server {server.uri} wants a login, or refuses the one given: "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD\n"
        )
    with pytest.raises(UsageError, match=r"the tracking server http://\*\*\*@.* wants a login"):
        refuse_unreachable(server.uri.replace("//", "//alice:wrong-password-1@"))


@pytest.mark.parametrize("who", [READER, STRANGER], ids=["reader", "stranger"])
def test_who_may_not_write_is_told_before_anything_is_trained(
    server: TeamServer, as_alice: MlflowClient, tmp_path: Path, who: tuple[str, str]
) -> None:
    if as_alice.get_experiment_by_name("vit-digits") is None:
        as_alice.create_experiment("vit-digits")
    done = run_here("pipeline.sweep", tmp_path, "--dataset", "digits", env=server.login(*who))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the tracking server {server.uri} does not let this login write into experiment vit-digits: "
        "ask for the role\n"
    )
    assert list((tmp_path / "sweeps").iterdir()) == []


def test_by_a_name_that_it_does_not_allow_a_command_says_so_in_a_line(server: TeamServer, tmp_path: Path) -> None:
    uri = server.named("127.0.0.2")
    done = run_here("pipeline.promote", tmp_path, "--dataset", "digits", "--tracking-uri", uri)
    name = uri.removeprefix("http://")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the tracking server {uri} refuses requests for the name {name}: add {name} to its --allowed-hosts\n"
    )


def test_no_password_is_in_a_process_list_or_a_log_and_no_file_is_open_to_others(
    server: TeamServer, guarded: dict[str, str]
) -> None:
    secrets = {*SECRETS.values(), ADMIN[1], STRANGER[1], *(password for _, password in ROLES)}
    # Unlike `process.cmdline()`, `info` does not fail for a process that has ended in the meantime.
    others = [each.info for each in psutil.process_iter(["pid", "cmdline"]) if each.pid != psutil.Process().pid]
    lines = [" ".join(info["cmdline"] or ()) for info in others]
    assert [line for line in lines if any(secret in line for secret in secrets)] == []
    assert [name for name, text in server.logs().items() if any(secret in text for secret in secrets)] == []
    below = [path for path in server.folder.rglob("*") if not stat.S_ISSOCK(path.lstat().st_mode)]
    assert [path for path in below if path.lstat().st_mode & 0o077] == []
    assert any(path.name == "secret.txt" for path in below)


def test_a_second_server_in_the_folder_is_refused(server: TeamServer) -> None:
    done = server.try_to_start()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: a server runs in {server.folder} already\n")


def test_trainers_register_and_promoters_promote(server: TeamServer, guarded: dict[str, str]) -> None:
    alias = {"name": "vit-guarded", "alias": "challenger"}
    path = "/api/2.0/mlflow/registered-models/alias"
    assert ask(server, TRAINER, "POST", path, {**alias, "version": "1"})[0] == 200
    assert ask(server, TRAINER, "DELETE", path, alias)[0] == 403
    assert ask(server, PROMOTER, "DELETE", path, alias)[0] == 200


def test_behind_a_proxy_it_is_called_by_its_name_alone(server: TeamServer) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(server, ALICE, "GET", path, headers={"Host": HOST, "Origin": f"https://{HOST}"})[0] == 200
    assert ask(server, ALICE, "GET", path, headers={"Host": "example.org"})[0] == 403
    # This is a request of a page from elsewhere that is open in a user's browser.
    other = {"Host": HOST, "Origin": "https://example.org"}
    assert ask(server, ALICE, "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 1}, other)[0] == 403


def test_add_user_sets_a_password_anew_and_says_in_a_line_what_is_wrong(server: TeamServer) -> None:
    new = ("anna", "annas-password-12")
    assert server.add_user("anna", "annas-first-password", "reader").returncode == 0
    assert server.add_user(*new, "reader").stdout == "anna is a reader\n"
    assert ask(server, new, "GET", "/version")[0] == 200
    for name, password, role, status, message in (
        ("anna", "short", "reader", 1, "Password must be at least 12 characters."),
        ("anna", new[1], "king", 2, "usage: mlflow/add_user.sh NAME reader|trainer|promoter"),
    ):
        done = server.add_user(name, password, role)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", f"error: {message}\n")


def test_the_administrator_changes_the_own_password(server: TeamServer) -> None:
    """The password is changed back at the end, because other tests need it."""
    assert server.add_user(ADMIN[0], "another-password-1", "promoter").returncode == 0
    done = server.add_user(*ADMIN, "promoter", admin=(ADMIN[0], "another-password-1"))
    assert (done.returncode, done.stderr) == (0, "")
