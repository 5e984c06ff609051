"""Keeps what the gate measured in an MLflow run, which also counts as a read of the test images."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.promote.verdict import Verdict
from pipeline.session.lock import locked
from pipeline.terminal.command_line import command_line
from pipeline.tracking.test_set_reads import record_test_set_read
from pipeline.tracking.tracker import Tracker

ARTIFACTS = "gate"
_KEY = "gate"


class GateRun:
    """The gate's MLflow run, while the gate is at work."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self._tracker = tracker
        self.folder = folder
        """A temporary folder for the files that the gate needs; removed when the run ends."""

    @property
    def run_id(self) -> str:
        return self._tracker.run_id(_KEY)

    def keep(self, verdict: Verdict) -> str:
        """Logs the metrics, the verdict and all predictions; returns the digest of `verdict.json`."""
        files = self.folder / "to-keep"
        digest = verdict.write(files / ARTIFACTS)
        for who, score in (("challenger", verdict.challenger), ("champion", verdict.champion)):
            if score is not None:
                score.predictions.write(files / ARTIFACTS / f"{who}_predictions.csv")
        tags = {
            "pipeline.gate": "passed" if verdict.passes else "refused",
            "mlflow.note.content": verdict.to_markdown(),
        }
        self._tracker.log(_KEY, verdict.metrics, tags=tags, files=files)
        self._tracker.flush()
        return digest


@contextmanager
def gate_run(uri: str, model_name: str, versions: tuple[int, int | None], test_digest: str) -> Iterator[GateRun]:
    """Starts the run, before any test image is shown to a model, and ends it afterwards.

    The run's tags name the machine and the temporary folder. The folder's lock is held until the run ends, so that
    `pipeline.doctor` can recognise a run that was killed.

    Args:
        uri: the URI of the tracking store.
        model_name: the registered model; its experiment has the same name.
        versions: the version numbers of the challenger and of the champion, the latter None where there is none.
        test_digest: the digest of the test images.

    Raises:
        TrackingError: the tracking store does not answer.
    """
    challenger, champion = versions
    folder = tempfile.mkdtemp(prefix="vit-gate-")
    tags = {
        "pipeline.kind": "gate",
        "pipeline.command": command_line("pipeline.promote"),
        "pipeline.folder": folder,
        "pipeline.host": socket.gethostname(),
        "pipeline.challenger": str(challenger),
        "pipeline.champion": "" if champion is None else str(champion),
    }
    try:
        with locked(folder):
            tracker = Tracker(uri, model_name)
            tracker.start_run(_KEY, f"gate-version-{challenger}", tags=tags)
            record_test_set_read(tracker, _KEY, test_digest)
            try:
                yield GateRun(tracker, Path(folder))
            except KeyboardInterrupt:
                tracker.end_run(_KEY, "KILLED", {"pipeline.stopped": "interrupted"})
                raise
            except Exception as error:
                tracker.end_run(_KEY, "FAILED", {"pipeline.error": str(error)})
                raise
            else:
                tracker.end_run(_KEY, "FINISHED")
            finally:
                tracker.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
