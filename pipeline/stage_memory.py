"""What stages have computed before: MLflow is the memory, so it is shared by all that see the tracking store.

A stage's run is tagged with its fingerprint, and holds what it read and what it gave out as `stage.json`.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter, ValidationError

from pipeline.dag import Identity, Remembered, Stage
from pipeline.tracking import RECORD_TAG

STAGE_FILE = "stage.json"


class StageMemory:
    """The finished stages of an experiment."""

    def __init__(self, client: MlflowClient, experiment: str, owner: str) -> None:
        """`owner` is whose stages are this command's own."""
        self._client, self._owner = client, owner
        found = client.get_experiment_by_name(experiment)
        self._experiments = [found.experiment_id] if found else []

    def find(self, stage: Stage, fingerprint: str, own: bool) -> Remembered | None:
        conditions = {"pipeline.fingerprint": fingerprint}
        run = self._newest(stage, conditions, f" AND tags.`{RECORD_TAG}` LIKE '{self._owner}/%'" if own else "")
        kept = self._kept(run)
        if run is None or kept is None:
            return None
        try:
            output: Any = TypeAdapter(stage.gives).validate_python(kept.output)
        except ValidationError:
            return None  # of another version of this project
        return Remembered(run.info.run_id, run.info.end_time / 1000, kept.identity, output)

    def latest(self, stage: Stage) -> Identity | None:
        kept = self._kept(self._newest(stage, {}, ""))
        return kept.identity if kept else None

    def _newest(self, stage: Stage, tags: Mapping[str, str], more: str) -> Run | None:
        wanted = {"pipeline.kind": "stage", "pipeline.stage": stage.name, **tags}
        conditions = [f"tags.`{name}` = '{value}'" for name, value in wanted.items()]
        pattern = " AND ".join([*conditions, "attributes.status = 'FINISHED'"]) + more
        runs = self._client.search_runs(
            self._experiments, pattern, max_results=1, order_by=["attributes.end_time DESC"]
        )
        return next(iter(runs), None)

    def _kept(self, run: Run | None) -> "_Kept | None":
        if run is None:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            try:
                path = self._client.download_artifacts(run.info.run_id, STAGE_FILE, scratch)
                return TypeAdapter(_Kept).validate_json(Path(path).read_text())
            except (OSError, MlflowException, ValueError):  # removed, cut short, or of another version
                return None


@dataclass(frozen=True)
class _Kept:
    """What `stage.json` holds."""

    identity: Identity
    output: Any


def write_stage(folder: Path, stage: Stage, identity: Identity, output: Any) -> None:
    """Writes what the memory keeps of a finished stage."""
    given = TypeAdapter(stage.gives).dump_python(output, mode="json")
    (folder / STAGE_FILE).write_text(json.dumps({"identity": asdict(identity), "output": given}))
