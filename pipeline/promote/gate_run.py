"""The gate's run in MLflow: it counts as a read of the test images, and keeps what was measured."""

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
    """A run that is under way."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self._tracker = tracker
        self.folder = folder
        """For what the gate needs on disk; removed at its end."""

    @property
    def run_id(self) -> str:
        return self._tracker.run_id(_KEY)

    def keep(self, verdict: Verdict) -> str:
        """Writes metrics, the verdict and all predictions; gives the digest of `verdict.json`."""
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
    """Begins the run, before any test image is shown to a model, and ends it.

    It says on which machine it runs and over which folder, whose lock is held, so that the doctor can tell a run that
    was killed.

    Args:
        uri: of the tracking store.
        model_name: the registered model, whose experiment has this name.
        versions: of the challenger and of the champion.
        test_digest: of the images.

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
