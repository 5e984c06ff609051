"""Tests `pipeline.compare` on a real store: every way to name a model, and what is printed about the models."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.tracking.server import open_client
from pipeline.trials.predictions import Predictions
from tests.integration.commands import run_here
from tests.integration.readme import commands_of

LABELS = np.array([0, 1] * 20)
DIGEST = "sha256:test"


@dataclass
class Store:
    """Two sweeps of two trials; trial 1 of each is a finalist and is version 1 (champion) or version 2 (challenger)."""

    folder: Path
    client: MlflowClient
    experiment: str
    ids: dict[str, str] = field(default_factory=dict)
    """The ids of the runs, by the name given to `add`."""

    def add(
        self, name: str, run_name: str, tags: dict[str, str], parent: str | None = None, wrong: int | None = None
    ) -> None:
        """Adds a run; with `wrong`, one whose model gets that many test images wrong."""
        run_id = self.client.create_run(self.experiment, run_name=run_name).info.run_id
        self.ids[name] = run_id
        if parent is not None:
            self.client.set_tag(run_id, "mlflow.parentRunId", self.ids[parent])
        for key, value in tags.items():
            self.client.set_tag(run_id, f"pipeline.{key}", value)
        self.client.log_param(run_id, "depth", len(self.ids))
        if wrong is not None:
            self._log_model(run_id, wrong)
        self.client.set_terminated(run_id)

    def _log_model(self, run_id: str, wrong: int) -> None:
        files = self.folder / run_id
        (files / "checkpoint").mkdir(parents=True)
        (files / "evaluation").mkdir()
        (files / "checkpoint" / "config.json").write_text(json.dumps({"class_names": ["cat", "dog"]}))
        np.save(files / "checkpoint" / "confusion.npy", np.array([[9, 1], [2, 8]]))
        chances = np.full((len(LABELS), 2), 0.2)
        chances[np.arange(len(LABELS)), LABELS] = 0.8
        chances[:wrong] = chances[:wrong, ::-1]
        Predictions.of(LABELS, chances).write(files / "evaluation" / "test_predictions.csv")
        self.client.log_artifacts(run_id, str(files))
        self.client.log_metric(run_id, "test/accuracy", 1 - wrong / len(LABELS))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("compare")
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("vit-digits", artifact_location=(folder / "artifacts").as_uri())
    store = Store(folder, client, experiment)
    for sweep, wrong in (("old", 8), ("new", 2)):
        store.add(sweep, f"sweep-{sweep}", {"kind": "sweep"})
        for trial in (0, 1):
            store.add(f"{sweep} trial {trial}", f"trial-{trial:02d}", {"kind": "trial", "trial": str(trial)}, sweep)
        store.add(f"{sweep} finalist", "trial-01-seed-0", {"kind": "finalist"}, sweep, wrong)
        store.add(f"{sweep} evaluate", "evaluate", {"kind": "stage", "test_opened": DIGEST}, sweep)
    client.create_registered_model("vit-digits")
    tags = {"pipeline.test_digest": DIGEST}
    for number, (sweep, alias) in enumerate((("old", "champion"), ("new", "challenger")), start=1):
        client.create_model_version("vit-digits", "file:///nowhere", run_id=store.ids[f"{sweep} finalist"], tags=tags)
        client.set_registered_model_alias("vit-digits", alias, str(number))
    return store


def _run_ids(store: Store, *arguments: str) -> list[str]:
    """Returns the ids of the runs to which the command resolved the names."""
    done = run_here("pipeline.compare", store.folder, *arguments, "--json", "result.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return [run["run_id"] for run in json.loads((store.folder / "result.json").read_text())["runs"]]


def test_a_model_is_known_by_run_name_version_alias_and_trial(store: Store) -> None:
    ids = store.ids
    assert _run_ids(store, ids["old trial 0"], "trial-01-seed-0") == [ids["old trial 0"], ids["new finalist"]]
    versions = ("vit-digits/1", "vit-digits@champion", "models:/vit-digits@champion", "models:/vit-digits/1")
    assert _run_ids(store, *versions) == [ids["old finalist"]] * 4
    assert _run_ids(store, "0", "1") == [ids["new trial 0"], ids["new trial 1"]]
    assert _run_ids(store, "1", "trial-01-seed-0", "--sweep", "sweep-old") == [ids["old trial 1"], ids["old finalist"]]
    assert _run_ids(store, "1", "vit-digits/1", "--sweep", ids["new"]) == [ids["new trial 1"], ids["old finalist"]]


def test_the_commands_of_the_readme(store: Store) -> None:
    ids = store.ids
    versions, trials = (words[1:] for words in commands_of("pipeline.compare"))
    assert _run_ids(store, *versions) == [ids["old finalist"], ids["new finalist"]]
    assert _run_ids(store, *trials) == [ids["new trial 0"], ids["new trial 1"]]


def test_a_sweep_whose_search_had_finished_before_has_the_trials_of_that_search(store: Store) -> None:
    store.add("search", "search", {"kind": "stage"}, "old")
    store.add("later", "sweep-later", {"kind": "sweep", "cached.search": store.ids["search"]})
    found = _run_ids(store, "0", "1", "--sweep", "sweep-later")
    assert found == [store.ids["old trial 0"], store.ids["old trial 1"]]
    store.client.delete_run(store.ids["later"])


def test_what_is_printed_and_written(store: Store) -> None:
    done = run_here("pipeline.compare", store.folder, "vit-digits@champion", store.ids["new finalist"], "--out", "c.md")
    assert (done.returncode, done.stderr) == (0, "")
    new = store.ids["new finalist"]
    sentence = (
        f"vit-digits@champion and {new}, 40 images: only vit-digits@champion is right on 0, only {new} on 6; {new} has"
        " +15.00 points [+5.00, +27.50]; McNemar's exact test p = 0.031"
    )
    assert sentence in done.stdout
    written = (store.folder / "c.md").read_text()
    assert sentence in written
    assert "| validation accuracy | 85.00% [64.0, 94.8] | 85.00% [64.0, 94.8] |" in written
    assert "| test accuracy | 80.00% [65.2, 89.5] | 95.00% [83.5, 98.6] |" in written
    assert "## accuracy by class, test images" in written
    assert "| cat | 80.00% [58.4, 91.9] | 95.00% [76.4, 99.1] |" in written


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("0",), "0 is one model, but there must be at least two to compare"),
        (("0", "7"), "7 is no trial of sweep-new"),
        (("0", "vit-digits/1"), "0 is a trial's number, which needs --sweep"),
        (("0", "1", "--sweep", "none"), "--sweep is none, but there is no such sweep"),
        (("nobody's", "vit-digits/1"), "nobody's is no run"),
        (("vit-digits@nobody", "vit-digits/1"), "vit-digits@nobody is no registered version"),
        (("sweep-new", "vit-digits/1"), "sweep-new is a sweep, but must be a run that trained one model"),
        (("evaluate", "vit-digits/1"), "evaluate is a stage, but must be a run that trained one model"),
        (("0", "1", "--out", "c.html"), "--out is c.html, but must end in .md"),
    ],
)
def test_bad_input_is_one_line(store: Store, arguments: tuple[str, ...], error: str) -> None:
    done = run_here("pipeline.compare", store.folder, *arguments)
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, ""), done.stderr
    assert done.stderr.startswith(f"error: {error}")
