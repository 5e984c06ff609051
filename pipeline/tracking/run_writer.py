"""Writes events to MLflow, so that an event that is written twice counts once."""

import posixpath
import re
import shutil
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags

from pipeline.tracking.events import ENDING_TAGS, LONGEST_TAG, RECORD_TAG, EarlierRun, LogRun, StartRun
from pipeline.tracking.pages import all_pages

LONGEST_PARAM = 6000  # MLflow refuses longer values
LONGEST_METRIC_NAME = 250
MOST_METRICS = 1000
"""The most that MLflow takes in one call."""


class RunWriter:
    """Writes one owner's runs in an experiment, and maps the caller's keys to their MLflow ids."""

    def __init__(self, client: MlflowClient, experiment_id: str, owner: str) -> None:
        self._client, self._experiment_id, self._owner = client, experiment_id, owner
        # The tags that MLflow's own fluent interface would set: who started the run, from which program and commit.
        self._origin: dict[str, str] = resolve_tags()
        # A request that MLflow repeats by itself, since no answer came, may leave a second run, which stays empty.
        fullest_last = sorted(self._find("%"), key=lambda run: len(run.data.metrics))
        self._earlier = {run.data.tags[RECORD_TAG].partition("/")[2]: run for run in fullest_last}
        self.run_ids: dict[str, str] = {key: run.info.run_id for key, run in self._earlier.items()}
        self._earlier_steps: dict[tuple[str, str], set[int]] = {}
        """The steps that earlier processes wrote, by run key and metric name."""

    def earlier(self, key: str) -> EarlierRun | None:
        """Returns the run as it was when this writer was made; None if there was none."""
        run = self._earlier.get(key)
        if run is None:
            return None
        ending = {name: run.data.tags[name] for name in ENDING_TAGS if name in run.data.tags}
        return EarlierRun(run.info.run_id, run.info.status, ending)

    def adopt(self, run_id: str) -> str:
        """Registers a run of any owner with this writer, and returns the key for it."""
        key = f"run/{run_id}"
        if key not in self.run_ids:
            self._earlier[key] = self._client.get_run(run_id)
            self.run_ids[key] = run_id
        return key

    def _find(self, key: str) -> list[Run]:
        """Returns the owner's runs whose key matches `key`, a pattern for SQL's LIKE."""
        pattern = f"tags.`{RECORD_TAG}` LIKE '{self._owner}/{key}'"
        search = partial(self._client.search_runs, [self._experiment_id], pattern, max_results=1000)
        return list(all_pages(lambda token: search(page_token=token)))

    def write(self, event: StartRun | LogRun, is_retry: bool) -> None:
        """Writes an event; `is_retry` says that an earlier attempt may have written part of it."""
        if isinstance(event, StartRun):
            self._start(event, is_retry)
        else:
            self._log(event)

    def _log(self, event: LogRun) -> None:
        run_id = self.run_ids[event.key]
        new = {} if event.once and self._has_earlier(event) else event.metrics
        metrics = [Metric(_metric_name(name), value, event.at, event.step) for name, value in new.items()]
        tags = _tags(event)
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + MOST_METRICS])
        if tags:
            self._client.log_batch(run_id, tags=tags)
        if event.files is not None and event.files.exists():
            self._client.log_artifacts(run_id, str(event.files))
            shutil.rmtree(event.files, ignore_errors=True)
        if event.status is not None:
            self._client.set_terminated(run_id, event.status, end_time=event.at)

    def _has_earlier(self, event: LogRun) -> bool:
        """Whether an earlier process wrote these metrics at this step: if it wrote the last of them, it wrote all."""
        if event.key not in self._earlier or not event.metrics:
            return False
        name = _metric_name(list(event.metrics)[-1])
        if (event.key, name) not in self._earlier_steps:
            history = self._client.get_metric_history(self.run_ids[event.key], name)
            self._earlier_steps[event.key, name] = {metric.step for metric in history}
        return event.step in self._earlier_steps[event.key, name]

    def _start(self, event: StartRun, is_retry: bool) -> None:
        given = {**self._origin, **event.tags, RECORD_TAG: f"{self._owner}/{event.key}"}
        tags = {name: _storable(value, LONGEST_TAG) for name, value in given.items()}
        if event.parent is not None:
            tags["mlflow.parentRunId"] = self.run_ids[event.parent]
        if is_retry and event.key not in self.run_ids:
            # The earlier attempt may have created the run without receiving the server's answer.
            self.run_ids.update((event.key, run.info.run_id) for run in self._find(event.key))
        if event.key in self.run_ids:
            run = self._reopened(self.run_ids[event.key], event)
        else:
            run = self._client.create_run(self._experiment_id, start_time=event.at, tags=tags, run_name=event.name)
        run_id = self.run_ids[event.key] = run.info.run_id
        missing = {name: value for name, value in event.params.items() if name not in run.data.params}
        params = [Param(name, _storable(value, LONGEST_PARAM)) for name, value in missing.items()]
        if params:
            self._client.log_batch(run_id, params=params)
        if event.dataset is not None:
            reference = event.dataset
            # MLflow's own column for digests holds 36 characters; the whole digest is in the run's tags.
            digest = reference.digest.removeprefix("sha256:")[:32]
            entity = DatasetEntity(reference.name, digest, "local", reference.source)
            self._client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _reopened(self, run_id: str, event: StartRun) -> Run:
        run = self._client.get_run(run_id)
        self._client.update_run(run_id, status="RUNNING")
        # These tags say by which command, and where, the run is resumed.
        self._client.log_batch(run_id, tags=_tags(event))
        for name in set(ENDING_TAGS) & set(run.data.tags):
            self._client.delete_tag(run_id, name)
        return run


def _tags(event: StartRun | LogRun) -> list[RunTag]:
    return [RunTag(name, _storable(value, LONGEST_TAG)) for name, value in event.tags.items()]


def _storable(value: object, longest: int) -> str:
    """Turns a value into text that MLflow stores: in a path, a byte that is not UTF-8 becomes an escape sequence."""
    return str(value).encode(errors="backslashreplace").decode()[:longest]


def _metric_name(name: str) -> str:
    """Turns a name into one that MLflow accepts: a class may have any name (`rock & roll`), a metric may not."""
    return posixpath.normpath(re.sub(r"[^\w/.: -]", "_", name)[:LONGEST_METRIC_NAME])
