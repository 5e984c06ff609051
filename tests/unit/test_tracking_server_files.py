"""The two ways to start a team's tracking server, with Docker and without it, agree with each other."""

import re
import shlex
import stat
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

FOLDER = Path(__file__).parents[2] / "mlflow"
SCRIPT = (FOLDER / "serve.sh").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
EXAMPLE = dict(
    line.split("=") for line in (FOLDER / ".env.example").read_text().splitlines() if line and line[0] != "#"
)
VARIABLE = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}|\$(\w+)")


def server_flags(command: str) -> dict[str, str]:
    """The flags of an `mlflow server` command with their values; the value of a flag that takes none is empty.

    A variable in a value is replaced by its name in angle brackets.
    """
    named = VARIABLE.sub(lambda match: f"<{match[1] or match[2]}>", command.replace("\\\n", " "))
    found: dict[str, str] = {}
    for word in shlex.split(named)[2:]:
        if word.startswith("--"):
            name, found[word] = word, ""
        else:
            found[name] += word
    return found


def with_docker() -> dict[str, str]:
    return server_flags(COMPOSE["services"]["mlflow"]["command"])


def without_docker() -> dict[str, str]:
    (command,) = re.findall(r"mlflow server .*?(?=\n\s*>>)", SCRIPT, re.DOTALL)
    return server_flags(command.removesuffix("\\"))


def environment_of(service: str) -> dict[str, str]:
    found: dict[str, str] = COMPOSE["services"][service]["environment"]
    return found


def follows_the_specification(*files: Path) -> bool:
    """Whether the files are valid by the JSON schema of the Compose specification that `check_jsonschema` includes."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*checker, *map(str, files)], capture_output=True, check=False).returncode == 0


def test_docker_can_read_them(tmp_path: Path) -> None:
    assert follows_the_specification(FOLDER / "compose.yaml", FOLDER / "compose.copy.yaml")
    (tmp_path / "compose.yaml").write_text("services: {mlflow: {image: mlflow, comand: mlflow server}}")
    assert not follows_the_specification(tmp_path / "compose.yaml")


def test_both_start_mlflow_with_the_same_flags() -> None:
    docker, plain = with_docker(), without_docker()
    assert docker.keys() == plain.keys()
    differ = {name: (docker[name], plain[name]) for name in docker if docker[name] != plain[name]}
    assert differ == {
        "--host": ("0.0.0.0", "<BIND_ADDRESS>"),  # inside Docker's own network; `ports` publishes it
        "--port": ("5000", "<SERVER_PORT>"),
        "--artifacts-destination": ("s3://mlflow", "<folder>/artifacts"),
    }
    assert docker["--app-name"] == "basic-auth"
    assert "<SERVER_NAME>" in docker["--allowed-hosts"].split(",")
    assert {"--serve-artifacts", "--cors-allowed-origins"} <= docker.keys()


def test_both_give_mlflow_the_same_environment() -> None:
    exported = set(re.findall(r"\b((?:MLFLOW|PG)\w+)=", SCRIPT))
    passed = {name for name in environment_of("mlflow") if name.startswith(("MLFLOW_", "PG"))}
    assert exported - passed == {"PGPASSFILE", "PGPORT"}  # the password's file, and the port in the name of the socket
    assert passed - exported == {"PGPASSWORD", "MLFLOW_S3_ENDPOINT_URL"}


def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    published = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert published == {
        "database": [], "artifacts": [], "mlflow": ["${BIND_ADDRESS:-127.0.0.1}:${SERVER_PORT}:5000"]
    }  # fmt: skip
    assert EXAMPLE["BIND_ADDRESS"] == "127.0.0.1"
    while_copying = yaml.safe_load((FOLDER / "compose.copy.yaml").read_text())["services"]
    assert all(port.startswith("127.0.0.1:") for service in while_copying.values() for port in service["ports"])
    assert while_copying.keys() < COMPOSE["services"].keys()


def test_every_setting_is_in_the_example_and_every_secret_is_empty_there() -> None:
    used = {name for match in VARIABLE.finditer(yaml.safe_dump(COMPOSE)) for name in match.groups() if name}
    assert used == EXAMPLE.keys()
    (read,) = re.findall(r"for name in (SERVER_NAME [A-Z_ ]+); do", SCRIPT)
    assert {*read.split(), "S3_ACCESS_KEY", "S3_SECRET_KEY"} == EXAMPLE.keys()
    secret = {name for name in EXAMPLE if name.endswith(("PASSWORD", "SECRET_KEY"))}
    assert {EXAMPLE[name] for name in secret} == {""}
    assert len(secret) == 4


def test_no_password_is_in_a_command_or_a_file() -> None:
    commands = [str(service.get("command", "")) for service in COMPOSE["services"].values()]
    assert not any(re.search("PASSWORD|SECRET", command) for command in commands)
    login = ConfigParser()
    login.read(FOLDER / "basic_auth.ini")
    assert login["mlflow"]["database_uri"] == "postgresql+psycopg2:///mlflow_auth"
    assert login["mlflow"]["default_permission"] == "NO_PERMISSIONS"
    assert not {"admin_username", "admin_password"} & login["mlflow"].keys()


def test_what_docker_starts_fits_together() -> None:
    services, mlflow = COMPOSE["services"], environment_of("mlflow")
    assert mlflow["PGHOST"] in services
    assert environment_of(mlflow["PGHOST"])["POSTGRES_USER"] == mlflow["PGUSER"]
    assert with_docker()["--backend-store-uri"].endswith(f"///{environment_of('database')['POSTGRES_DB']}")
    assert COMPOSE["configs"]["databases"]["content"] == "CREATE DATABASE mlflow_auth;"
    assert mlflow["MLFLOW_S3_ENDPOINT_URL"] == "http://artifacts:8333"
    assert (
        f"-bucket={with_docker()['--artifacts-destination'].removeprefix('s3://')}" in services["artifacts"]["command"]
    )
    assert all("healthcheck" in service for service in services.values())
    healthy = {"condition": "service_healthy"}
    assert services["mlflow"]["depends_on"] == {"database": healthy, "artifacts": healthy}
    used = [volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert sorted(used) == sorted(COMPOSE["volumes"])


def test_the_image_is_of_the_version_that_is_installed() -> None:
    pinned = re.findall(r"^mlflow==(.*)$", (FOLDER.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert [COMPOSE["services"]["mlflow"]["image"]] == [f"ghcr.io/mlflow/mlflow:v{version}-full" for version in pinned]


def test_the_scripts_can_be_run() -> None:
    scripts = list(FOLDER.glob("*.sh"))
    assert len(scripts) == 2
    assert all(path.stat().st_mode & stat.S_IXUSR for path in scripts)
