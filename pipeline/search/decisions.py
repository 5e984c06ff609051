"""Explains why a trial ended: stores ASHA's decisions in MLflow and puts them into words."""

import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.errors import UsageError
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.trial_runs import DECISIONS_TAG
from pipeline.trials.records import TrialResult
from pipeline.trials.rungs import Decision

DECISIONS_FILE = "decisions.csv"
_STOPS = {
    "asha": "was stopped by ASHA",
    "diverged": "diverged",
    "budget": "was stopped when the budget's time for the search was over",
    "interrupted": "was interrupted",
}


def log_decisions(tracker: Tracker, key: str, trials: Sequence[TrialResult]) -> None:
    """Adds a table of all decisions to a run; each trial's own run holds the trial's decisions as a tag."""
    folder = Path(tempfile.mkdtemp(prefix="vit-decisions-"))
    with (folder / DECISIONS_FILE).open("w", newline="") as file:
        writer = csv.DictWriter(file, ["trial", *(field.name for field in fields(Decision))])
        writer.writeheader()
        for trial in sorted(trials, key=lambda trial: trial.index):
            writer.writerows({"trial": trial.index, **asdict(decision)} for decision in trial.decisions)
    tracker.log(key, files=folder)


def explain(client: MlflowClient, experiment: str, trial: int) -> list[str]:
    """Explains, rung by rung, why a trial of an experiment's newest sweep ended.

    Raises:
        UsageError: the experiment has no sweep, or its newest sweep has not started such a trial.
    """
    found = client.get_experiment_by_name(experiment)
    ids = [found.experiment_id] if found else []
    sweep = _newest(client, ids, "tags.`pipeline.kind` = 'sweep'")
    if sweep is None:
        raise UsageError(f"--why is {trial}, but experiment {experiment} holds no sweep")
    parent = f"tags.`mlflow.parentRunId` = '{_searched_by(client, sweep)}'"
    run = _newest(client, ids, f"{parent} AND tags.`pipeline.kind` = 'trial' AND tags.`pipeline.trial` = '{trial}'")
    if run is None:
        count = sweep.data.tags.get("pipeline.trials", sweep.data.params.get("trials", "?"))
        raise UsageError(f"--why is {trial}, but {sweep.info.run_name}, of {count} trials, has not begun such a trial")
    decisions = [Decision(**each) for each in json.loads(run.data.tags.get(DECISIONS_TAG, "[]"))]
    diverged = run.data.tags.get("pipeline.stopped") == "diverged"
    lines = [_line(decision, diverged and not decision.go_on) for decision in decisions]
    return [f"trial {trial} of {sweep.info.run_name} {_ending(run)}", *lines]


def _searched_by(client: MlflowClient, sweep: Run) -> str:
    """The run ID of the sweep that ran the search: an earlier one if this sweep reused its finished search."""
    stage = sweep.data.tags.get("pipeline.cached.search")
    return str(sweep.info.run_id if stage is None else client.get_run(stage).data.tags["mlflow.parentRunId"])


def _newest(client: MlflowClient, experiments: list[str], pattern: str) -> Run | None:
    if not experiments:
        return None
    runs = client.search_runs(experiments, pattern, max_results=1, order_by=["attributes.start_time DESC"])
    return next(iter(runs), None)


def _ending(run: Run) -> str:
    tags = run.data.tags
    reason = f": {tags['pipeline.error']}" if "pipeline.error" in tags else ""
    if run.info.status == "KILLED":
        return _STOPS.get(tags.get("pipeline.stopped", ""), "was stopped") + reason
    names = {"FINISHED": "ran to its full length", "FAILED": "failed"}
    return names.get(run.info.status, "has not ended") + reason


def _line(decision: Decision, diverged: bool) -> str:
    """Puts a decision into words; `diverged` means that the trial diverged before it reached the rung."""
    standing = f"rank {decision.rank} of {decision.of} so far"
    if diverged:
        return f"  epoch {decision.epoch}: diverged before this rung, and is ranked last there: {standing}"
    asked = "the first there, which goes on"
    if decision.cutoff is not None:
        asked = f"cut-off {decision.cutoff:.2%}"
    verdict = "went on" if decision.go_on else "stopped"
    if decision.go_on and decision.cutoff is not None and decision.accuracy < decision.cutoff:
        verdict = "went on below it, being the published configuration"
    return f"  epoch {decision.epoch}: validation {decision.accuracy:.2%}, {standing}, {asked}: {verdict}"
