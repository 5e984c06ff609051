"""Creates runs and folders as commands leave them, for the tests of the diagnosis."""

import getpass
import json
import socket
import uuid
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.diagnosis.command_folders import CommandFolder
from pipeline.diagnosis.command_runs import CommandRuns
from pipeline.diagnosis.finding import Finding
from pipeline.diagnosis.stale_runs import check_runs
from pipeline.tracking.events import RECORD_TAG
from vit.files.storage import Folder

HERE = socket.gethostname()


COMMAND = "python -m pipeline.sweep --trials 2"


def experiment_of(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("vit-x")
    assert found is not None
    return str(found.experiment_id)


def start_runs(client: MlflowClient, owner: str, folder: str, tags: Mapping[str, str] | None = None) -> None:
    """Creates the runs of a sweep, of a stage of it and of a trial, as they are while the sweep is under way."""
    about = {"pipeline.folder": folder, "pipeline.command": COMMAND, "mlflow.user": getpass.getuser(), **(tags or {})}
    for key, kind, more in (("sweep", "sweep", about), ("stage/search", "stage", {}), ("trial/0", "trial", {})):
        its_tags = {"pipeline.kind": kind, RECORD_TAG: f"{owner}/{key}", **more}
        client.create_run(experiment_of(client), tags=its_tags, run_name=key)


def runs_of(client: MlflowClient) -> dict[str, Run]:
    return {run.info.run_name: run for run in client.search_runs([experiment_of(client)])}


def statuses(client: MlflowClient) -> set[tuple[str, str | None]]:
    return {(run.info.status, run.data.tags.get("pipeline.stopped")) for run in runs_of(client).values()}


def command_folder(storage: str, name: str = "sweep-x-1") -> CommandFolder:
    """Creates and returns a folder in which a command has been started."""
    owner = uuid.uuid4().hex
    Folder(f"{storage}/{name}").write("session.json", json.dumps({"id": owner}).encode())
    return CommandFolder(f"{storage}/{name}", owner)


def found_runs(client: MlflowClient, folders: Mapping[str, str] | None = None) -> list[Finding]:
    return list(check_runs(CommandRuns(client), folders or {}))
