"""Makes a user's own store, with something of everything, and a team's store, both as SQLite files."""

import math
import shutil
from pathlib import Path

import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from pipeline.copy_store.copying import StoreCopy, copy_store
from pipeline.copy_store.tables import opened
from pipeline.tracking.server import open_client
from tests.tracking_uri import tracking_uri_undone
from vit.files.storage import Folder


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def make_own_store(folder: Path) -> None:
    """Makes a store with a run, its child run, a model with two versions, and the files of all in `mlartifacts`."""
    folder.mkdir()
    with tracking_uri_undone():  # MLflow reads the global tracking URI when it creates a version
        _fill(open_client(f"sqlite:///{folder}/mlflow.db"), folder)


def _fill(client: MlflowClient, folder: Path) -> None:
    location = (folder / "mlartifacts" / "vit-x").as_uri()
    experiment = client.create_experiment("vit-x", location, {"mlflow.experimentKind": "custom"})
    parent = client.create_run(experiment, 1_000, {"pipeline.kind": "sweep"}, "sweep").info.run_id
    child = client.create_run(experiment, 2_000, {"mlflow.parentRunId": parent}, "trial").info.run_id
    values = [0.1, 1 / 3, math.nan, math.inf]
    metrics = [Metric("val/loss", value, 3_000 + step, step) for step, value in enumerate(values)]
    client.log_batch(child, metrics, [Param("depth", "3")], [RunTag("mlflow.note.content", "ünïcode " * 50)])
    data = Dataset("digits", "5f24", "local", "scikit-learn digits")
    client.log_inputs(child, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    for run, text in ((parent, "the report"), (child, "a figure")):
        (folder / "file.txt").write_text(text)
        client.log_artifact(run, str(folder / "file.txt"), "some folder")
        client.set_terminated(run, "FINISHED", 9_000)
    client.create_registered_model("vit-x", {"team": "vision"}, "finds the digit")
    for number in ("1", "2"):
        model = client.create_logged_model(experiment, "model", child, {"number": number}, {"depth": "3"})
        client.log_outputs(child, [LoggedModelOutput(model.model_id, 0)])
        (folder / "file.txt").write_text(f"weights {number}")
        client.log_model_artifact(model.model_id, str(folder / "file.txt"))
        client.finalize_logged_model(model.model_id, "READY")
        source = f"models:/{model.model_id}"
        client.create_model_version("vit-x", source, child, {"n": number}, description="new", model_id=model.model_id)
    client.set_registered_model_alias("vit-x", "champion", "1")
    client.set_registered_model_alias("vit-x", "challenger", "2")


def make_team_store(folder: Path) -> None:
    """Makes a store as a server with `--serve-artifacts` does, with an experiment of somebody else."""
    folder.mkdir()
    SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    client_of(folder).create_experiment("vit-other", "mlflow-artifacts:/1")


def copied(folder: Path, to: Path) -> Path:
    """Copies a store's folder to another path, and returns that path."""
    shutil.copytree(folder, to)
    return to


def copy_into(own: Path, team: Path, artifacts: str | None = None) -> StoreCopy:
    """Copies `own` into `team`; the files go to `artifacts` (path or URI), by default a folder beside the database."""
    uris = (f"sqlite:///{folder}/mlflow.db" for folder in (own, team))
    with opened("--from", next(uris)) as source, opened("--to", next(uris)) as target:
        return copy_store(source, target, Folder(artifacts or str(team / "artifacts")), lambda line: None)


def change(folder: Path, statement: str) -> None:
    """Runs SQL on a store's database."""
    engine = sa.create_engine(f"sqlite:///{folder}/mlflow.db")
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def record_files_in(own: Path, before: Path, now: str) -> None:
    """Makes the rows name `now` in place of `before` as the files' folder, as in a store that was made elsewhere."""
    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
    for name, column in {**columns, "model_versions": "storage_location"}.items():
        change(own, f"UPDATE {name} SET {column} = replace({column}, '{before}', '{now}')")
