"""Reads everything that a tracking store holds through its client, so that two stores can be compared."""

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType


def contents(client: MlflowClient) -> dict[str, Any]:
    """Returns a store's contents without what differs in a copy: the experiments' ids, the artifacts' locations."""
    experiments = {each.experiment_id: each for each in client.search_experiments(ViewType.ALL)}
    runs = client.search_runs(list(experiments), run_view_type=ViewType.ALL, max_results=1000)
    models = client.search_logged_models(list(experiments))
    return {
        "experiments": {each.name: dict(each.tags) for each in experiments.values() if each.name != "Default"},
        "runs": {run.info.run_id: _run(client, run, experiments[run.info.experiment_id].name) for run in runs},
        "logged models": {
            each.model_id: (each.name, each.source_run_id, each.status, each.params, each.tags, each.creation_timestamp)
            for each in models
        },
        "registered models": {
            each.name: (each.description or "", each.tags, _texts(each.aliases), each.creation_timestamp)
            for each in client.search_registered_models()
        },
        "versions": {
            (each.name, str(each.version)): (
                each.description,
                each.tags,
                each.run_id,
                each.source,
                each.creation_timestamp,
            )
            for each in client.search_model_versions()
        },
    }


def _texts(aliases: dict[str, str]) -> dict[str, str]:
    """Returns the aliases with their versions as text: a database gives the versions as numbers, a server as text."""
    return {alias: str(version) for alias, version in aliases.items()}


def _run(client: MlflowClient, run: Run, experiment: str) -> dict[str, Any]:
    info, inputs, outputs = run.info, run.inputs, run.outputs
    histories = {name: client.get_metric_history(info.run_id, name) for name in run.data.metrics}
    return {
        "of": (experiment, info.run_name, info.status, info.lifecycle_stage, info.start_time, info.end_time),
        "params": run.data.params,
        "tags": run.data.tags,
        # As text, since a NaN is not equal to itself.
        "latest": {name: str(value) for name, value in run.data.metrics.items()},
        "metrics": {
            name: [(each.step, each.timestamp, str(each.value)) for each in history]
            for name, history in histories.items()
        },
        "data sets": [
            (each.dataset.name, each.dataset.digest, each.dataset.source, [(tag.key, tag.value) for tag in each.tags])
            for each in (inputs.dataset_inputs if inputs else [])
        ],
        "models": [(each.model_id, each.step) for each in (outputs.model_outputs if outputs else [])],
    }
