"""Registered versions whose files are gone."""

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.config import experiment_name
from pipeline.diagnosis.finding import Finding
from pipeline.registry.model_files import missing_files
from pipeline.registry.versions import CHAMPION, search_versions
from pipeline.tracking.pages import all_pages


def check_versions(client: MlflowClient) -> Iterator[Finding]:
    """Lists the files of every version of this pipeline's models; downloads none."""
    for name, aliases in _models(client):
        for version in search_versions(client, name):
            problem = missing_files(client, str(version.source))
            if problem is not None:
                yield _finding(version, aliases.get(int(version.version), []), problem)


def _models(client: MlflowClient) -> Iterator[tuple[str, dict[int, list[str]]]]:
    """Every model by name, with the aliases of its versions."""
    pattern = f"name LIKE '{experiment_name('%')}'"
    for model in all_pages(lambda token: client.search_registered_models(pattern, page_token=token)):
        aliases: dict[int, list[str]] = {}
        for alias, version in sorted(model.aliases.items()):
            aliases.setdefault(int(version), []).append(alias)
        yield str(model.name), aliases


def _finding(version: ModelVersion, aliases: list[str], problem: str) -> Finding:
    name, number = str(version.name), int(version.version)
    advice = f"delete it in the MLflow UI, or by MlflowClient().delete_model_version({name!r}, '{number}')"
    if CHAMPION in aliases:
        advice = f"python -m pipeline.promote --model {name} --rollback; then {advice}"
    thing = f"{name} version {number}" + (f" [{', '.join(aliases)}]" if aliases else "")
    details = {"name": name, "version": number, "aliases": aliases, "source": str(version.source)}
    return Finding("version", thing, f"{problem} at {version.source}", advice, details=details)
