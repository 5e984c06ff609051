"""The one writer of MLflow runs: accepts events without delay, and writes them in order from its own thread.

Training never waits for the tracking server and does not fail with it: while the server is unreachable, events queue
up. An event that is written twice counts once, so that a process that takes over may rewrite what may have been lost.
"""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from pipeline.errors import UsageError, without_passwords
from pipeline.tracking.events import DatasetReference, EarlierRun, LogRun, StartRun, Status, TrackingError
from pipeline.tracking.run_writer import RunWriter
from pipeline.tracking.server import database_lock, open_client

RETRY_SECONDS = 1.0
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""MLflow's error codes for records that it would refuse again, so that a retry is useless."""
_KIND = ("mlflow.experimentKind", "custom_model_development")
"""The experiment's tag that makes MLflow's UI open it in the view for training runs."""

logger = logging.getLogger("pipeline.tracking")


class Tracker:
    """Writes runs, which the caller names by keys of its own; the writer's thread maps the keys to MLflow ids."""

    def __init__(self, uri: str, experiment: str, owner: str | None = None, timeout: float = 120.0) -> None:
        """Creates the database and the experiment if they are missing, under a lock against other processes.

        Args:
            uri: the URI of the tracking store.
            experiment: the name of the experiment.
            owner: whose runs these are; runs that this owner wrote before, also in another process, are continued.
            timeout: the seconds that `flush` and `close` wait for the server's next answer.

        Raises PipelineError, or whatever MLflow raises, if the store cannot be used.
        """
        self._timeout = timeout
        self.uri = uri
        self.experiment = experiment
        with database_lock(uri):
            self.client = open_client(uri)
            experiment_id = self._open_experiment(experiment)
        self._writer = RunWriter(self.client, experiment_id, owner or uuid.uuid4().hex)
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
        """Starts a run under the run `parent`; reopens it if it was started before.

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
        """Adds metrics (at `step`), tags, or the files below a folder to a run, which may already have ended.

        From then on the folder belongs to the tracker, which removes it. The same metrics at the same time (`at`,
        milliseconds since 1970; None means now) count once. With `once`, metrics are skipped if an earlier process
        wrote them at this step, whatever their time and values: a curve has one point per step.
        """
        self._events.put(LogRun(key, at or _now(), metrics or {}, step, once, tags or {}, files))

    def end_run(self, key: str, status: Status, tags: Mapping[str, str] | None = None, at: int | None = None) -> None:
        """Ends a run at `at` (milliseconds since 1970; None means now)."""
        self._open.pop(key, None)
        self._events.put(LogRun(key, at or _now(), tags=tags or {}, status=status))

    def earlier(self, key: str) -> EarlierRun | None:
        """Returns the run as it was when this tracker was opened; None if there was none."""
        return self._writer.earlier(key)

    def end_open_runs(self, status: Status, tags: Mapping[str, str]) -> None:
        """Ends all runs that are still open, children first, so that no run stays RUNNING after the command."""
        for key in reversed(list(self._open)):
            self.end_run(key, status, tags)

    def run_id(self, key: str) -> str:
        """Returns the MLflow id of a run, once everything queued has been written.

        Raises:
            TrackingError: the server does not answer, or has refused the run.
        """
        found = self.find_run_id(key)
        if found is None:
            raise TrackingError(f"{key} has no run in {without_passwords(self.uri)}, because MLflow refused it")
        return found

    def find_run_id(self, key: str) -> str | None:
        """Returns the same as `run_id`, but None if there is no such run."""
        self.flush()
        return self._writer.run_ids.get(key)

    def adopt(self, run_id: str) -> str:
        """Registers a run of any owner, so that something can be added to it, and returns the key for it."""
        return self._writer.adopt(run_id)

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all events so far are written.

        Raises:
            TrackingError: the server took no event for `timeout` seconds; None means the tracker's own timeout.
        """
        timeout = self._timeout if timeout is None else timeout
        written, deadline = self._written, time.monotonic() + timeout
        with self._events.all_tasks_done:
            while self._events.unfinished_tasks:
                if self._written > written:  # the server answers, however long the queue is
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
        """Returns the experiment's id.

        Refuses an experiment that cannot be written now, rather than run by run once everything is trained.
        """
        try:
            return self._writable_experiment(name)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":
                raise
            raise UsageError(
                f"the tracking server {self.uri} does not let this login write into experiment {name}: ask for the role"
            ) from error

    def _writable_experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise UsageError(
                f"experiment {name} was deleted in MLflow at {self.uri}: bring it back by "
                f"MlflowClient().restore_experiment({experiment.experiment_id!r}), or rename it there"
            )
        if experiment is not None:
            # The tag is there already, but only a write tells whether this login may write into the experiment.
            self.client.set_experiment_tag(experiment.experiment_id, *_KIND)
            return str(experiment.experiment_id)
        # An absolute location beside the database; else the artifacts would land in the process's working directory.
        database = self.uri.removeprefix("sqlite:///")
        beside = (Path(database).parent / "mlartifacts" / name).as_uri() if database != self.uri else None
        try:
            return str(self.client.create_experiment(name, artifact_location=beside, tags=dict([_KIND])))
        except MlflowException:
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)  # another command created it on the same server first

    def _write_all(self) -> None:
        while not self._stopping.is_set():
            try:
                event = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            self._write_until_taken(event)
            self._written += 1
            self._events.task_done()

    def _write_until_taken(self, event: StartRun | LogRun) -> None:
        while not self._stopping.is_set():
            try:
                self._writer.write(event, is_retry=self._failure is not None)
                self._failure = None
                return
            except Exception as error:  # the server is unreachable or busy: training continues, and this is retried
                if isinstance(error, KeyError) or getattr(error, "error_code", None) in REFUSALS:
                    # It can never be written, so the events after it must not wait for it.
                    logger.warning("a record of %s is lost, because MLflow refuses it: %s", event.key, error)
                    return
                if self._failure is None:
                    logger.warning(
                        "cannot write to the tracking server at %s (training goes on, and it is tried again): %s",
                        without_passwords(self.uri),
                        error,
                    )
                self._failure = error
                self._stopping.wait(RETRY_SECONDS)


def _now() -> int:
    return int(time.time() * 1000)
