"""Remembers finished stages in MLflow, so that all who use the same tracking store share them.

A stage's run is tagged with its fingerprint, and holds its identity and its output as `stage.json`.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import TypeAdapter, ValidationError

from pipeline.graph.reuse import Remembered, output_digest
from pipeline.graph.stage import Identity, Stage
from pipeline.tracking.events import RECORD_TAG
from pipeline.tracking.pages import all_pages
from pipeline.tracking.run_files import fetch_file

STAGE_FILE = "stage.json"
RUNS_A_PAGE = 10
"""A small page, since the newest run can nearly always be reused."""


class StageMemory:
    """The finished stages of an experiment."""

    def __init__(self, client: MlflowClient, experiment: str, owner: str) -> None:
        """`owner` is the tracker's owner under which this command's own stages are written."""
        self._client, self._owner = client, owner
        found = client.get_experiment_by_name(experiment)
        self._experiments = [found.experiment_id] if found else []

    def find(self, stage: Stage, fingerprint: str, inputs: Mapping[str, str], own: bool) -> Remembered | None:
        mine = f" AND tags.`{RECORD_TAG}` LIKE '{self._owner}/%'"
        found = self._find(stage, fingerprint, inputs, mine)
        return found if own or found is not None else self._find(stage, fingerprint, inputs, "")

    def _find(self, stage: Stage, fingerprint: str, inputs: Mapping[str, str], more: str) -> Remembered | None:
        for run in self._finished(stage, {"pipeline.fingerprint": fingerprint}, more):
            kept = self._kept(run)
            if kept is None or kept.inputs != dict(inputs):
                continue
            try:
                output: Any = TypeAdapter(stage.output_type).validate_python(kept.output)
            except ValidationError:
                continue  # written by another version of this project
            return Remembered(run.info.run_id, run.info.end_time / 1000, kept.identity, output)
        return None

    def latest(self, stage: Stage) -> Identity | None:
        run = next(self._finished(stage, {}, ""), None)
        kept = self._kept(run) if run else None
        return kept.identity if kept else None

    def _finished(self, stage: Stage, tags: Mapping[str, str], more: str) -> Iterator[Run]:
        """Yields the finished runs of a stage that have these tags, newest first."""
        wanted = {"pipeline.kind": "stage", "pipeline.stage": stage.name, **tags}
        conditions = [f"tags.`{name}` = '{value}'" for name, value in wanted.items()]
        pattern = " AND ".join([*conditions, "attributes.status = 'FINISHED'"]) + more
        newest_first = ["attributes.end_time DESC"]
        search = partial(
            self._client.search_runs, self._experiments, pattern, max_results=RUNS_A_PAGE, order_by=newest_first
        )
        return all_pages(lambda token: search(page_token=token))

    def _kept(self, run: Run) -> "_Kept | None":
        with tempfile.TemporaryDirectory() as scratch:
            path = fetch_file(self._client, Path(scratch), run.info.run_id, STAGE_FILE)
            with suppress(ValueError):  # truncated, or of another version
                return TypeAdapter(_Kept).validate_json(path.read_text()) if path is not None else None
        return None


@dataclass(frozen=True)
class _Kept:
    """The contents of `stage.json`."""

    identity: Identity
    inputs: dict[str, str]
    """Digests of its inputs' outputs, by stage."""
    output: Any


def write_stage(folder: Path, stage: Stage, identity: Identity, inputs: Mapping[str, Any], output: Any) -> None:
    """Writes what the memory keeps of a finished stage; `inputs` are the outputs that it was given, by stage."""
    given = TypeAdapter(stage.output_type).dump_python(output, mode="json")
    digests = {name: output_digest(each) for name, each in inputs.items()}
    (folder / STAGE_FILE).write_text(json.dumps({"identity": asdict(identity), "inputs": digests, "output": given}))
