"""The one writer of MLflow runs: takes events at once, writes them in order from its own thread.

Training never waits for the tracking server and does not die with it: while the server is away, events queue up.
Each event may be written twice and counts once, so that whoever takes over may write again what may have been lost.
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
"""MLflow's error codes for what it will not take the next time either."""
_KIND = ("mlflow.experimentKind", "custom_model_development")
"""Of an experiment: the UI opens it in its view for training runs."""

logger = logging.getLogger("pipeline.tracking")


class Tracker:
    """Runs are named by keys of the caller's; the writer's thread knows their MLflow ids."""

    def __init__(self, uri: str, experiment: str, owner: str | None = None, timeout: float = 120.0) -> None:
        """Creates database and experiment where they are missing, so that no two processes do it at once.

        Args:
            uri: of the tracking store.
            experiment: its name.
            owner: whose runs these are; those that it wrote before, in another process too, are taken up again.
            timeout: seconds that `flush` and `close` wait for the server's next answer.

        Raises PipelineError, or whatever MLflow raises, where the store cannot be used.
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
        return self._writer.earlier(key)

    def end_open_runs(self, status: Status, tags: Mapping[str, str]) -> None:
        """Ends what is still open, children first, so that no run stays RUNNING when nothing runs."""
        for key in reversed(list(self._open)):
            self.end_run(key, status, tags)

    def run_id(self, key: str) -> str:
        """The MLflow id of a run, after everything queued has been written."""
        self.flush()
        return self._writer.run_ids[key]

    def find_run_id(self, key: str) -> str | None:
        """The same; None where the owner has no such run."""
        self.flush()
        return self._writer.run_ids.get(key)

    def adopt(self, run_id: str) -> str:
        """Takes up a run of anybody's, so that something can be added to it; gives the key for it."""
        return self._writer.adopt(run_id)

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
        """The experiment's id. What would be refused run by run, when all is trained, is refused at once."""
        try:
            return self._writable_experiment(name)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":
                raise
            raise UsageError(
                f"the tracking server {self.uri} lets this login write nothing into experiment {name}: ask for the role"
            ) from error

    def _writable_experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise UsageError(
                f"experiment {name} was deleted in MLflow at {self.uri}: bring it back by "
                f"MlflowClient().restore_experiment({experiment.experiment_id!r}), or rename it there"
            )
        if experiment is not None:
            # It is so already; but whether this login may write there, only writing tells.
            self.client.set_experiment_tag(experiment.experiment_id, *_KIND)
            return str(experiment.experiment_id)
        # An absolute location beside the database; else the artifacts land in the process's working directory.
        database = self.uri.removeprefix("sqlite:///")
        beside = (Path(database).parent / "mlartifacts" / name).as_uri() if database != self.uri else None
        try:
            return str(self.client.create_experiment(name, artifact_location=beside, tags=dict([_KIND])))
        except MlflowException:
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)  # another command at the same server was quicker

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
            except Exception as error:  # the server is away or busy: training goes on, and this is tried again
                if isinstance(error, KeyError) or getattr(error, "error_code", None) in REFUSALS:
                    # Never to be written: what comes after it must not wait for it.
                    logger.warning("a record of %s is lost, tracking refuses it: %s", event.key, error)
                    return
                if self._failure is None:
                    logger.warning("tracking at %s fails, training goes on: %s", without_passwords(self.uri), error)
                self._failure = error
                self._stopping.wait(RETRY_SECONDS)


def _now() -> int:
    return int(time.time() * 1000)
