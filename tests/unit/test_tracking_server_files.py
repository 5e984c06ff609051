"""The two ways to start a team's tracking server, with Docker and without, in step with each other."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

FOLDER = Path(__file__).parents[2] / "mlflow"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")


def flags(command: str) -> dict[str, str]:
    """The flags of an `mlflow server` command with their values; of one that takes none, the empty text."""
    words = shlex.split(command)
    assert words[:2] == ["mlflow", "server"]
    found: dict[str, str] = {}
    for word in words[2:]:
        if word.startswith("--"):
            name = word
            found[name] = ""
        else:
            found[name] += word
    return found


def with_docker() -> dict[str, str]:
    values = {"SERVER_NAME": "SERVER", "POSTGRES_PASSWORD": "secret"}
    command: str = COMPOSE["services"]["mlflow"]["command"]
    return flags(VARIABLE.sub(lambda match: values[match[1]], command))


def without_docker() -> dict[str, str]:
    (command,) = re.findall(r"```\n(mlflow server.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    return flags(command.replace("\\\n", " "))


def test_both_start_it_with_the_same_flags() -> None:
    docker, plain = with_docker(), without_docker()
    assert docker.keys() == plain.keys()
    differ = {name for name in docker if docker[name] != plain[name]}
    assert differ == {"--backend-store-uri", "--artifacts-destination", "--allowed-hosts"}
    assert docker["--cors-allowed-origins"] == "http://SERVER:5000"


def test_both_answer_to_the_servers_name_and_on_the_machine_itself() -> None:
    docker, plain = (each["--allowed-hosts"].split(",") for each in (with_docker(), without_docker()))
    assert plain == ["SERVER:5000", "localhost:*", "127.0.0.1:*"]
    assert sorted(docker) == sorted([*plain, "mlflow:5000"])  # to the other containers by the service's name


def test_what_the_server_needs_is_there() -> None:
    services = COMPOSE["services"]
    store = re.fullmatch(r"postgresql://(\w+):secret@(\w+):5432/(\w+)", with_docker()["--backend-store-uri"])
    assert store is not None
    user, host, database = store.groups()
    assert services[host]["environment"]["POSTGRES_USER"] == user
    assert services[host]["environment"]["POSTGRES_DB"] == database
    assert services["mlflow"]["ports"] == [f"{with_docker()['--port']}:{with_docker()['--port']}"]
    (volume,) = services["mlflow"]["volumes"]
    assert volume == f"artifacts:{with_docker()['--artifacts-destination']}"
    assert {volume.partition(":")[0]} <= COMPOSE["volumes"].keys()
    assert "SERVER_NAME=SERVER" in (FOLDER / "README.md").read_text()
