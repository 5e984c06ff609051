"""Runs a planned graph: writes an MLflow run for each stage that runs, and records what happened to each stage."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InterruptedCommandError
from pipeline.figures.boxes import StageOutcome
from pipeline.graph.fingerprint import fingerprint
from pipeline.graph.graph import GraphResults
from pipeline.graph.plan import GraphPlan
from pipeline.graph.reuse import ReuseDecision, output_digest
from pipeline.graph.stage import Identity, Stage
from pipeline.graph.stage_memory import write_stage
from pipeline.tracking.tracker import Tracker


@dataclass
class StageRecord:
    """What happens to a stage under one command."""

    name: str
    inputs: tuple[str, ...]
    outcome: StageOutcome
    reason: str
    cached_run_id: str | None
    """The earlier run whose output is used; None if the stage runs."""
    key: str = ""
    """The key by which the tracker knows the stage's run; empty until the stage begins."""
    seconds: float | None = None
    """Wall time; None until it has run."""


class GraphRunner:
    """Runs the stages of a graph that need to run, under the run `parent`.

    `records` holds every stage in order as soon as `run` begins, so that a later stage can report the earlier ones.
    """

    def __init__(
        self,
        plan: GraphPlan,
        tracker: Tracker,
        parent: str,
        records: dict[str, StageRecord],
        say: Callable[[str], None],
        stage_begins: Callable[[], None] = lambda: None,
    ) -> None:
        """`parent` is the tracker's key of a run; `stage_begins` is called whenever a stage begins."""
        self._plan, self._tracker, self._parent = plan, tracker, parent
        self._identities = plan.graph.identities()
        self._records, self._say, self._stage_begins = records, say, stage_begins

    def run(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Runs the graph, and returns all outputs by stage. Once `stopping()` is true, no further stage begins.

        Raises:
            InterruptedCommandError: the user wants to stop.
            Exception: the error of the first failed stage of the graph; the stages that do not depend on it have ended.
        """
        self._remove_cached_tags()
        for stage in self._plan.graph:
            self._announce(stage, self._plan.decisions[stage.name])
        results = self._plan.graph.run(self._execute, self._plan.outputs, stopping)
        self._raise_failures(results)
        if stopping():
            raise InterruptedCommandError("interrupted: the stages that have finished stay in MLflow")
        return results.outputs

    def _remove_cached_tags(self) -> None:
        """Removes the tags of outputs that an earlier command of this run reused, if this command runs the stages."""
        earlier = self._tracker.earlier(self._parent)
        if earlier is None:
            return
        tags = self._tracker.client.get_run(earlier.run_id).data.tags
        for tag in map(_cached_tag, self._plan.running):
            if tag in tags:
                self._tracker.client.delete_tag(earlier.run_id, tag)

    def _announce(self, stage: Stage, decision: ReuseDecision) -> None:
        self._say(f"{stage.name}: {decision.reason}")
        cached = decision.reused.run_id if decision.reused else None
        outcome: StageOutcome = "run" if cached is None else "cached"
        self._records[stage.name] = StageRecord(stage.name, stage.inputs, outcome, decision.reason, cached)
        if cached is not None:
            self._tracker.log(self._parent, tags={_cached_tag(stage.name): cached})

    def _execute(self, stage: Stage, inputs: dict[str, Any]) -> Any:
        """Runs a stage, times it and writes its run."""
        self._stage_begins()
        record, identity, started = self._records[stage.name], self._identities[stage.name], time.time()
        record.key = _run_key(stage, identity, inputs)
        self._tracker.start_run(record.key, stage.name, self._parent, _stage_tags(stage, identity))
        try:
            output = stage.run(**inputs)
        except InterruptedCommandError:
            raise
        except Exception as error:
            self._tracker.end_run(record.key, "FAILED", {"pipeline.error": f"{type(error).__name__}: {error}"})
            raise
        record.seconds = time.time() - started
        folder = Path(tempfile.mkdtemp(prefix="vit-stage-"))
        write_stage(folder, stage, identity, inputs, output)
        self._tracker.log(record.key, {"seconds": record.seconds}, files=folder)
        self._tracker.end_run(record.key, "FINISHED")
        return output

    def _raise_failures(self, results: GraphResults) -> None:
        failures = results.failures
        for name, culprit in results.skipped.items():
            if not isinstance(failures[culprit], InterruptedCommandError):
                self._say(f"{name}: not run, because {culprit} failed")
        interrupted = [error for error in failures.values() if isinstance(error, InterruptedCommandError)]
        for error in [*interrupted, *failures.values()]:
            raise error


def _cached_tag(stage: str) -> str:
    """Returns the tag of the parent that names the earlier run of a stage whose output is reused."""
    return f"pipeline.cached.{stage}"


def _run_key(stage: Stage, identity: Identity, inputs: Mapping[str, Any]) -> str:
    """Returns the tracker's key of a stage's run.

    It is the same when a command resumes the stage, and another when the same input stages have other outputs.
    """
    given = fingerprint({name: output_digest(output) for name, output in inputs.items()})
    return f"stage/{stage.name}/{identity.fingerprint}/{given}"


def _stage_tags(stage: Stage, identity: Identity) -> dict[str, str]:
    return {"pipeline.kind": "stage", "pipeline.stage": stage.name, "pipeline.fingerprint": identity.fingerprint}
