"""Tests that registered versions whose files are gone are reported."""

import contextlib
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from pipeline.diagnosis.versions import check_versions
from tests.unit.pipeline.diagnosis.command_store import experiment_of


def register(client: MlflowClient, folder: Path, kind: str) -> tuple[Path, str]:
    """Registers a new version of `vit-x`; returns the folder of its files, and its source."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in ("MLmodel", "data/model.pt2"):
        (folder / name).write_text("tiny")
    run = client.create_run(experiment_of(client))
    if kind == "run":
        client.log_artifacts(run.info.run_id, str(folder), "model")
        location, source = f"{run.info.artifact_uri}/model", f"runs:/{run.info.run_id}/model"
    else:
        model = client.create_logged_model(experiment_of(client), "model", source_run_id=run.info.run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        location, source = model.artifact_location, f"models:/{model.model_id}"
    with contextlib.suppress(mlflow.MlflowException):
        client.create_registered_model("vit-x")
    client.create_model_version("vit-x", source, run.info.run_id)
    return Path(location.removeprefix("file://")), source


@pytest.mark.parametrize("kind", ["run", "model"])
def test_versions_without_their_files_are_reported(client: MlflowClient, tmp_path: Path, kind: str) -> None:
    folders, sources = zip(*(register(client, tmp_path / "model", kind) for _ in range(4)), strict=True)
    client.set_registered_model_alias("vit-x", "champion", "2")
    client.set_registered_model_alias("vit-x", "challenger", "4")
    assert list(check_versions(client)) == []
    shutil.rmtree(folders[1])
    (folders[2] / "MLmodel").unlink()
    (folders[3] / "data" / "model.pt2").unlink()
    delete = "delete it in the MLflow UI, or by MlflowClient().delete_model_version('vit-x', '{}')"
    assert [finding.line for finding in check_versions(client)] == [
        f"version: vit-x version 2 [champion] has no files at {sources[1]}: "
        f"python -m pipeline.promote --model vit-x --rollback; then {delete.format(2)}",
        f"version: vit-x version 3 has no MLmodel at {sources[2]}: {delete.format(3)}",
        f"version: vit-x version 4 [challenger] has no data at {sources[3]}: {delete.format(4)}",
    ]


def test_versions_of_another_machine_are_left_alone(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a path that this machine lacks nor a bucket that does not answer shows that the files are gone."""
    _, source = register(client, tmp_path / "model", "model")
    client.set_registered_model_alias("vit-x", "champion", "1")
    said = f"version: vit-x version 1 [champion] has files that cannot be checked from this machine: at {source} they "
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    (finding,) = check_versions(client)
    assert finding.line == f"{said}are in a folder that this machine does not have: left alone"
    assert finding.state == "information"
    (tmp_path / "elsewhere").rename(tmp_path / "artifacts")

    def no_answer(self: object, path: object) -> None:
        raise OSError("the bucket\ndoes not answer")

    monkeypatch.setattr(LocalArtifactRepository, "list_artifacts", no_answer)
    (finding,) = check_versions(client)
    assert finding.line == f"{said}cannot be listed (the bucket does not answer): left alone"
    assert finding.state == "information"


def test_a_version_whose_model_mlflow_has_lost_is_reported(client: MlflowClient, tmp_path: Path) -> None:
    _, source = register(client, tmp_path / "model", "model")
    client.delete_logged_model(source.removeprefix("models:/"))
    client.create_registered_model("another")
    client.create_model_version("another", "runs:/gone/model")
    (finding,) = check_versions(client)
    assert finding.line.startswith("version: vit-x version 1 is nowhere in MLflow (")
    assert finding.details == {"name": "vit-x", "version": 1, "aliases": [], "source": source}
