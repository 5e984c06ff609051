"""Finds the sweep that a user means: by its name, by its run's id, or the newest."""

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.errors import UsageError
from pipeline.tracking.pages import all_pages

_RESULT_TAG = "pipeline.winner"
"""A sweep's run has this tag once its report has been recorded."""
_NAMED = 5
"""How many sweeps an error message names."""


def find_sweep(client: MlflowClient, wanted: str | None) -> Run:
    """Finds the run of a sweep: the newest with this name or id (or the first 8 or more characters of the id).

    Args:
        client: the client of the tracking store.
        wanted: the name or id; None for the newest sweep of the store that has a result.

    Raises:
        UsageError: there is no such sweep, or it has no result yet.
    """
    sweeps = _sweeps(client)
    finished = [run for run in sweeps if _RESULT_TAG in run.data.tags]
    if wanted is None:
        if not finished:
            raise UsageError("this tracking store holds no sweep with a result: run a sweep first")
        return finished[0]
    meant = [run for run in sweeps if _is_meant(run, wanted)]
    if not meant:
        known = ", ".join(str(run.info.run_name) for run in finished[:_NAMED]) or "none"
        raise UsageError(
            f"SWEEP is {wanted!r}, but must be the name or run id of a sweep in this tracking store; the newest:"
            f" {known}"
        )
    if _RESULT_TAG not in meant[0].data.tags:
        raise UsageError(f"sweep {wanted} has no result yet: {_how_to_go_on(meant[0])}")
    return meant[0]


def _sweeps(client: MlflowClient) -> list[Run]:
    """Returns the runs of all sweeps, newest first."""
    experiments = all_pages(lambda token: client.search_experiments(page_token=token))
    ids = [experiment.experiment_id for experiment in experiments]
    order = ["attributes.start_time DESC"]
    return list(
        all_pages(
            lambda token: client.search_runs(ids, "tags.`pipeline.kind` = 'sweep'", order_by=order, page_token=token)
        )
    )


def _is_meant(run: Run, wanted: str) -> bool:
    return wanted == run.info.run_name or (len(wanted) >= 8 and run.info.run_id.startswith(wanted))


def _how_to_go_on(run: Run) -> str:
    return f"give its command again, {run.data.tags.get('pipeline.command', 'python -m pipeline.sweep ...')}"
