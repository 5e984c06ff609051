"""The one writer of MLflow runs: takes events at once, writes them in order from its own thread.

Training never waits for the tracking server and does not die with it: while the server is away, events queue up.
Each event may be written twice and counts once, so that whoever takes over may tell again what may have been lost.
"""

import logging
import posixpath
import queue
import re
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags

from pipeline.exits import PipelineError
from pipeline.tracking_server import alone_at_the_database, open_client

Status = Literal["FINISHED", "KILLED", "FAILED"]
RETRY_SECONDS = 1.0
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""MLflow's error codes for what it will not take the next time either."""
LONGEST_PARAM = 6000  # MLflow refuses longer values
LONGEST_TAG = 8000
LONGEST_METRIC_NAME = 250
MOST_METRICS = 1000
"""In one call."""
RECORD_TAG = "pipeline.record"
"""`<owner>/<key>`: by it a run is found again, by another process too."""
ENDING_TAGS = ("pipeline.stopped", "pipeline.error")

logger = logging.getLogger("pipeline.tracking")


class TrackingError(PipelineError):
    """What was measured could not be written to the tracking server."""


@dataclass(frozen=True)
class DatasetReference:
    """What a run was computed on."""

    name: str
    digest: str
    source: str


@dataclass(frozen=True)
class StartRun:
    key: str
    name: str
    parent: str | None
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    dataset: DatasetReference | None
    at: int


@dataclass(frozen=True)
class LogRun:
    """Whatever is added to a run: metrics at a step, tags, files of a folder, and its end."""

    key: str
    at: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    once: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Path | None = None
    """A folder; it is removed when its files are written."""
    status: Status | None = None


@dataclass(frozen=True)
class EarlierRun:
    """A run that an earlier process of the same owner wrote."""

    run_id: str
    status: str
    ending: dict[str, str]
    """What its end was tagged."""


class Tracker:
    """Runs are named by keys of the caller's; the writer's thread knows their MLflow ids."""

    def __init__(self, uri: str, experiment: str, owner: str | None = None, timeout: float = 120.0) -> None:
        """Creates database and experiment where they are missing, so that no two processes do it at once.

        Args:
            uri: of the tracking store.
            experiment: its name.
            owner: whose runs these are; those that it wrote before, in another process too, are taken up again.
            timeout: how many seconds whoever waits for the server waits for its next answer.

        Raises PipelineError, or whatever MLflow raises, where the store cannot be used.
        """
        self._owner = owner or uuid.uuid4().hex
        self._timeout = timeout
        self.uri = uri
        self.experiment = experiment
        with alone_at_the_database(uri):
            self.client = open_client(uri)
            self._experiment_id = self._open_experiment(experiment)
        # Who started it, from which program and commit, as MLflow's own fluent interface says it.
        self._origin: dict[str, str] = resolve_tags()
        self._earlier = {run.data.tags[RECORD_TAG].partition("/")[2]: run for run in self._find("%")}
        self._run_ids: dict[str, str] = {key: run.info.run_id for key, run in self._earlier.items()}
        self._earlier_steps: dict[tuple[str, str], set[int]] = {}
        """By key and metric."""
        self._open: dict[str, None] = {}
        self._events: queue.Queue[StartRun | LogRun] = queue.Queue()
        self._written = 0
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="tracking", daemon=True)
        self._thread.start()

    def start_run(
        self,
        key: str,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        dataset: DatasetReference | None = None,
        at: int | None = None,
    ) -> None:
        """Starts a run, under the run `parent`; opens it again where it was started before.

        `at` is its start in milliseconds since 1970; None means now.
        """
        self._open[key] = None
        self._events.put(StartRun(key, name, parent, tags or {}, params or {}, dataset, at or _now()))

    def log(
        self,
        key: str,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        tags: Mapping[str, str] | None = None,
        files: Path | None = None,
        at: int | None = None,
        once: bool = False,
    ) -> None:
        """Adds metrics (at `step`), tags, or the files below a folder, to a run, also to one that has ended.

        The folder is the tracker's from then on, which removes it. The same metrics at the same time (`at`,
        milliseconds since 1970; None means now) count once. With `once`, so do metrics that an earlier process
        measured at this step, whenever that was and whatever it found: a curve has one point a step.
        """
        self._events.put(LogRun(key, at or _now(), metrics or {}, step, once, tags or {}, files))

    def end_run(self, key: str, status: Status, tags: Mapping[str, str] | None = None, at: int | None = None) -> None:
        """Ends a run at `at` (milliseconds since 1970; None means now)."""
        self._open.pop(key, None)
        self._events.put(LogRun(key, at or _now(), tags=tags or {}, status=status))

    def earlier(self, key: str) -> EarlierRun | None:
        """The run as it was when this tracker was opened; None where there was none."""
        run = self._earlier.get(key)
        if run is None:
            return None
        ending = {name: run.data.tags[name] for name in ENDING_TAGS if name in run.data.tags}
        return EarlierRun(run.info.run_id, run.info.status, ending)

    def end_open_runs(self, status: Status, tags: Mapping[str, str]) -> None:
        """Ends what is still open, children first, so that no run stays RUNNING when nothing runs."""
        for key in reversed(list(self._open)):
            self.end_run(key, status, tags)

    def run_id(self, key: str) -> str:
        """The MLflow id of a run, once all that was said of it before is written."""
        self.flush()
        return self._run_ids[key]

    def find_run_id(self, key: str) -> str | None:
        """The same; None where the owner has no such run."""
        self.flush()
        return self._run_ids.get(key)

    def adopt(self, run_id: str) -> str:
        """Takes up a run of anybody's, so that something can be added to it; gives the key for it."""
        key = f"run/{run_id}"
        if key not in self._run_ids:
            self._earlier[key] = self.client.get_run(run_id)
            self._run_ids[key] = run_id
        return key

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all events so far are written.

        Raises:
            TrackingError: for `timeout` seconds the server took none; None means the tracker's own patience.
        """
        timeout = self._timeout if timeout is None else timeout
        written, deadline = self._written, time.monotonic() + timeout
        with self._events.all_tasks_done:
            while self._events.unfinished_tasks:
                if self._written > written:  # it answers, however much it has to catch up on
                    written, deadline = self._written, time.monotonic() + timeout
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    raise TrackingError(
                        f"{self._events.unfinished_tasks} records could not be written to {self.uri}: "
                        f"{self._failure or f'it took more than {timeout:g} s'}"
                    )
                self._events.all_tasks_done.wait(min(left, 1.0))

    def close(self, timeout: float | None = None) -> None:
        """Writes what is left and stops the writer. Raises TrackingError like `flush`."""
        try:
            self.flush(timeout)
        finally:
            self._stopping.set()

    def _open_experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        # An absolute place beside the database; else the artifacts land wherever the process stands.
        database = self.uri.removeprefix("sqlite:///")
        beside = (Path(database).parent / "mlartifacts" / name).as_uri() if database != self.uri else None
        # The kind makes the UI open in its view for training runs.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(self.client.create_experiment(name, artifact_location=beside, tags=kind))

    def _find(self, key: str) -> list[Run]:
        """The owner's runs whose key is like this (SQL's `%`)."""
        pattern = f"tags.`{RECORD_TAG}` LIKE '{self._owner}/{key}'"
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self._experiment_id], pattern, max_results=1000, page_token=token)
            found += page
            if not page.token:
                return found
            token = page.token

    def _write_all(self) -> None:
        while not self._stopping.is_set():
            try:
                event = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            while not self._stopping.is_set():
                try:
                    self._write(event)
                    self._failure = None
                    break
                except Exception as error:  # the server is away or busy: training goes on, and this is tried again
                    if isinstance(error, KeyError) or getattr(error, "error_code", None) in REFUSALS:
                        # Never to be written: what comes after it must not wait for it.
                        logger.warning("a record of %s is lost, tracking refuses it: %s", event.key, error)
                        break
                    if self._failure is None:
                        logger.warning("tracking at %s fails, training goes on: %s", self.uri, error)
                    self._failure = error
                    self._stopping.wait(RETRY_SECONDS)
            self._written += 1
            self._events.task_done()

    def _write(self, event: StartRun | LogRun) -> None:
        if isinstance(event, StartRun):
            self._write_start(event)
            return
        run_id = self._run_ids[event.key]
        new = {} if event.once and self._has_earlier(event) else event.metrics
        metrics = [Metric(_metric_name(name), value, event.at, event.step) for name, value in new.items()]
        tags = [RunTag(name, value[:LONGEST_TAG]) for name, value in event.tags.items()]
        for first in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run_id, metrics=metrics[first : first + MOST_METRICS])
        if tags:
            self.client.log_batch(run_id, tags=tags)
        if event.files is not None and event.files.exists():
            self.client.log_artifacts(run_id, str(event.files))
            shutil.rmtree(event.files, ignore_errors=True)
        if event.status is not None:
            self.client.set_terminated(run_id, event.status, end_time=event.at)

    def _has_earlier(self, event: LogRun) -> bool:
        """Whether an earlier process wrote these metrics at this step; what it wrote last of them tells."""
        if event.key not in self._earlier or not event.metrics:
            return False
        name = _metric_name(list(event.metrics)[-1])
        if (event.key, name) not in self._earlier_steps:
            history = self.client.get_metric_history(self._run_ids[event.key], name)
            self._earlier_steps[event.key, name] = {metric.step for metric in history}
        return event.step in self._earlier_steps[event.key, name]

    def _write_start(self, event: StartRun) -> None:
        tags = {**self._origin, **event.tags, RECORD_TAG: f"{self._owner}/{event.key}"}
        if event.parent is not None:
            tags["mlflow.parentRunId"] = self._run_ids[event.parent]
        if self._failure is not None and event.key not in self._run_ids:
            # The attempt before may have made the run and died on the way back.
            self._run_ids.update((event.key, run.info.run_id) for run in self._find(event.key))
        if event.key in self._run_ids:
            run = self._reopened(self._run_ids[event.key], event)
        else:
            run = self.client.create_run(self._experiment_id, start_time=event.at, tags=tags, run_name=event.name)
        run_id = self._run_ids[event.key] = run.info.run_id
        missing = {name: value for name, value in event.params.items() if name not in run.data.params}
        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in missing.items()]
        if params:
            self.client.log_batch(run_id, params=params)
        if event.dataset is not None:
            reference = event.dataset
            # MLflow's own column for digests holds 36 characters; the whole stands in the run's tags.
            digest = reference.digest.removeprefix("sha256:")[:32]
            entity = DatasetEntity(reference.name, digest, "local", reference.source)
            self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

    def _reopened(self, run_id: str, event: StartRun) -> Run:
        run = self.client.get_run(run_id)
        self.client.update_run(run_id, status="RUNNING")
        # By which command, and where, it goes on.
        self.client.log_batch(run_id, tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in event.tags.items()])
        for name in set(ENDING_TAGS) & set(run.data.tags):
            self.client.delete_tag(run_id, name)
        return run


def _metric_name(name: str) -> str:
    """A name that MLflow takes: a class may be called anything (`rock & roll`), a metric may not."""
    return posixpath.normpath(re.sub(r"[^\w/.: -]", "_", name)[:LONGEST_METRIC_NAME])


def _now() -> int:
    return int(time.time() * 1000)
