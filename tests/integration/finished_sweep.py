"""Runs the sweep whose results the tests in `test_sweep.py` examine from all sides once it has ended."""

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.commands import run_here, run_to_end
from tests.integration.readme import commands_of

TRIALS, EPOCHS, SEED, SEEDS = 6, 4, 1, 2
TRAIN_IMAGES = 400
SHORT = f"--trials {TRIALS} --max-epochs {EPOCHS} --seed {SEED} --finalists 1 --seeds {SEEDS} --audit 2"
# The first sweep of the README, made short: the last value given for a flag counts.
SWEEP = [*commands_of("pipeline.sweep")[0], *SHORT.split(), "--train-limit", str(TRAIN_IMAGES)]


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended, and what it left behind."""

    folder: Path
    temporary: Path
    stdout: str
    stderr: str
    result: dict[str, Any]
    aliases: dict[str, int]
    """The aliases of the registered model immediately after the sweep, with their versions."""

    @cached_property
    def client(self) -> MlflowClient:
        # The database in the working directory, which `mlflow ui` shows when it is started there.
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    @cached_property
    def run(self) -> Run:
        return self.client.get_run(self.result["sweep"]["run_id"])

    @cached_property
    def children(self) -> list[Run]:
        found = self.client.search_runs(
            [self.run.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{self.run.info.run_id}'",
            order_by=["attributes.start_time"],
        )
        return list(found)

    def of_kind(self, kind: str) -> list[Run]:
        return [run for run in self.children if run.data.tags["pipeline.kind"] == kind]

    @cached_property
    def trials(self) -> dict[int, Run]:
        """The trials' runs, by the number of the trial."""
        return {int(run.data.tags["pipeline.trial"]): run for run in self.of_kind("trial")}

    @cached_property
    def finalists(self) -> dict[str, Run]:
        """The finalists' runs, by the id of the run."""
        return {run.info.run_id: run for run in self.of_kind("finalist")}

    def history(self, trial: int, metric: str) -> list[float]:
        return self.curve(self.trials[trial], metric)

    def curve(self, run: Run, metric: str) -> list[float]:
        return [entry.value for entry in self.client.get_metric_history(run.info.run_id, metric)]

    def row_of(self, trial: int) -> dict[str, Any]:
        """Returns the trial's row of the leaderboard."""
        return next(row for row in self.result["leaderboard"] if row["trial"] == trial)

    @property
    def registered(self) -> Run:
        """The run whose weights were registered."""
        winner = self.result["winner"]
        return self.finalists[winner["run_ids"][winner["best_seed"]]]

    def follow(self, command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command, given as a module and its arguments, in the folder of the finished sweep."""
        module, *arguments = command
        return run_here(module, self.folder, *arguments, env=env)

    def artifact(self, run: Run, path: str, to: Path) -> Path:
        return Path(self.client.download_artifacts(run.info.run_id, path, str(to)))


def run_sweep(folder: Path) -> Sweep:
    temporary = folder / "temporary"
    temporary.mkdir()
    # Ray's sockets need a short path, so its own files stay in their usual place.
    elsewhere = {"TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"}
    done = run_to_end(SWEEP[0], folder, *SWEEP[1:], "--json", "result.json", env=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "result.json").read_text())
    model = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_registered_model("vit-digits")
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    return Sweep(folder, temporary, done.stdout, done.stderr, result, aliases)
