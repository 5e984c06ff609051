"""Finds the trained models that a user names: by run id, run name, registered version or trial number."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.errors import UsageError
from pipeline.registry.versions import get_version
from pipeline.tracking.pages import all_pages

_KINDS = ("train", "trial", "finalist", "audit", "reproduce")
"""The kinds of runs that trained one model."""


@dataclass(frozen=True)
class Subject:
    """One model to compare."""

    name: str
    """The name that the user gave."""
    run: Run
    """The run that trained the model."""
    version_tags: dict[str, str]
    """The tags of the registered version; empty if the user did not name one."""


class SubjectFinder:
    """Looks up trained models in a tracking store by the names that a user gives."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        experiments = all_pages(lambda token: client.search_experiments(page_token=token))
        self._experiments = [experiment.experiment_id for experiment in experiments]

    def find(self, names: Sequence[str], sweep: str | None) -> list[Subject]:
        """Returns the models with these names, in the order of the names.

        Args:
            names: run ids; run names, each of which means the newest run of that name; `models:/NAME@ALIAS`, with or
                without `models:/`; `NAME/VERSION`; or numbers of a sweep's trials.
            sweep: run name or id of the sweep that numbers and run names refer to. If it is None, all names or none
                must be numbers; numbers then refer to the newest sweep, and run names to all runs.

        Raises:
            UsageError: a name matches nothing, or something that is not a trained model.
        """
        numbers = [name for name in names if name.isdecimal()]
        if sweep is None and numbers and len(numbers) < len(names):
            raise UsageError(f"{numbers[0]} is a trial's number, which needs --sweep if other names are given with it")
        parents = self._parents(sweep) if sweep is not None or numbers else None
        return [self._find_one(name, parents) for name in names]

    def _find_one(self, name: str, parents: list[str] | None) -> Subject:
        if name.isdecimal() and parents is not None:
            return _trained(name, self._trial(int(name), parents))
        plain = name.removeprefix("models:/")
        if "@" in plain or "/" in plain:
            return self._version(name)
        run = self._run_by_id(name) or self._newest(_named(name), parents)
        if run is None:
            where = "" if parents is None else " of the sweep"
            raise UsageError(
                f"{name} is no run{where}: give a run's id or name, NAME@ALIAS, NAME/VERSION or a trial's number"
            )
        return _trained(name, run)

    def _parents(self, sweep: str | None) -> list[str]:
        """The run id of the sweep, and that of the earlier sweep whose finished search it reuses, if there is one."""
        condition = "tags.`pipeline.kind` = 'sweep'"
        if sweep is None:
            run = self._newest(condition)
        else:
            run = self._run_by_id(sweep) or self._newest(f"{condition} AND {_named(sweep)}")
        if run is None or run.data.tags.get("pipeline.kind") != "sweep":
            raise UsageError(
                "there is no sweep here" if sweep is None else f"--sweep is {sweep}, but there is no such sweep"
            )
        stage = run.data.tags.get("pipeline.cached.search")
        earlier = [self._client.get_run(stage).data.tags["mlflow.parentRunId"]] if stage is not None else []
        return [run.info.run_id, *earlier]

    def _trial(self, number: int, parents: list[str]) -> Run:
        condition = f"tags.`pipeline.kind` = 'trial' AND tags.`pipeline.trial` = '{number}'"
        run = self._newest(condition, parents)
        if run is None:
            sweep = self._client.get_run(parents[0]).info.run_name
            raise UsageError(f"{number} is no trial of {sweep}: give the number of one that has begun")
        return run

    def _version(self, name: str) -> Subject:
        try:
            version = get_version(self._client, name)
            return _trained(name, self._client.get_run(str(version.run_id)), version.tags)
        except MlflowException as error:
            raise UsageError(f"{name} is no registered version: {error.message}") from error

    def _run_by_id(self, run_id: str) -> Run | None:
        try:
            return self._client.get_run(run_id)
        except MlflowException:
            return None

    def _newest(self, condition: str, parents: list[str] | None = None) -> Run | None:
        """The newest run that meets a condition; with `parents`, a child of the first parent that has such a run."""
        among = [""] if parents is None else [f" AND tags.`mlflow.parentRunId` = '{parent}'" for parent in parents]
        for parent in among:
            found = self._client.search_runs(
                self._experiments, condition + parent, max_results=1, order_by=["attributes.start_time DESC"]
            )
            if found:
                return found[0]
        return None


def _named(name: str) -> str:
    """The search condition for a run name. MLflow cannot escape a quotation mark in it, and no run here has one."""
    return f"attributes.run_name = '{name.replace(chr(39), '')}'"


def _trained(name: str, run: Run, version_tags: dict[str, str] | None = None) -> Subject:
    kind = run.data.tags.get("pipeline.kind")
    if kind not in _KINDS:
        what = f"a {kind}" if kind in ("sweep", "stage") else "not of this pipeline"
        raise UsageError(
            f"{name} is {what}, but must be a run that trained one model: name a trial or a finalist of it"
        )
    return Subject(name, run, version_tags or {})
