"""Finds registered versions whose files are gone."""

from collections.abc import Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.config import experiment_name
from pipeline.diagnosis.finding import Finding
from pipeline.registry.model_files import NO_FILES, UnreachableFilesError, is_reachable_location, missing_files
from pipeline.registry.versions import CHAMPION, search_versions
from pipeline.tracking.pages import all_pages


def check_versions(client: MlflowClient) -> Iterator[Finding]:
    """Checks the files of every version of this pipeline's models by listing them, without downloading any."""
    for name, aliases in _models(client):
        for version in search_versions(client, name):
            yield from _check(client, version, aliases.get(int(version.version), []))


def _check(client: MlflowClient, version: ModelVersion, aliases: list[str]) -> Iterator[Finding]:
    source = str(version.source)
    try:
        problem = missing_files(client, source)
    except UnreachableFilesError as error:
        yield _out_of_reach(version, aliases, str(error))
        return
    if problem == NO_FILES and not is_reachable_location(client, source):
        yield _out_of_reach(version, aliases, "are in a folder that this machine does not have")
    elif problem is not None:
        yield _lost(version, aliases, problem)


def _models(client: MlflowClient) -> Iterator[tuple[str, dict[int, list[str]]]]:
    """Yields the name of every model, with the aliases of its versions by number."""
    pattern = f"name LIKE '{experiment_name('%')}'"
    for model in all_pages(lambda token: client.search_registered_models(pattern, page_token=token)):
        aliases: dict[int, list[str]] = {}
        for alias, version in sorted(model.aliases.items()):
            aliases.setdefault(int(version), []).append(alias)
        yield str(model.name), aliases


def _lost(version: ModelVersion, aliases: list[str], problem: str) -> Finding:
    name, number = str(version.name), int(version.version)
    advice = f"delete it in the MLflow UI, or by MlflowClient().delete_model_version({name!r}, '{number}')"
    if CHAMPION in aliases:
        advice = f"python -m pipeline.promote --model {name} --rollback; then {advice}"
    problem = f"{problem} at {version.source}"
    return Finding("version", _thing(version, aliases), problem, advice, details=_details(version, aliases))


def _out_of_reach(version: ModelVersion, aliases: list[str], reason: str) -> Finding:
    problem = f"has files that cannot be checked from this machine: at {version.source} they {reason}"
    details = _details(version, aliases)
    return Finding("version", _thing(version, aliases), problem, "left alone", "information", details)


def _thing(version: ModelVersion, aliases: list[str]) -> str:
    return f"{version.name} version {version.version}" + (f" [{', '.join(aliases)}]" if aliases else "")


def _details(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    return {
        "name": str(version.name), "version": int(version.version), "aliases": aliases, "source": str(version.source),
    }  # fmt: skip
