"""Tests that trials trained as one (fused) have the results of trials trained one by one, whatever happens."""

import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.search import fused_groups
from pipeline.search.fused_groups import Fusing
from pipeline.search.tuner import run_search
from pipeline.tracking.trial_runs import FUSED_TAG, trial_key
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from pipeline.trials.rungs import Rungs
from tests.deadline import DEADLINE
from tests.integration.commands import client_of, run_here, title_of
from tests.integration.digit_search import TINY, digit_search, recorded_runs
from tests.integration.readme import commands_of
from tune_spaces.trial_spec import TrialSpec
from vit.training.recipes import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

RECIPE = Recipe(epochs=6, batch_size=32, flip=False, rotation=5.0)
RATES = (1e-3, 3e-3, 3e-4, 1e-4, 5e-3, 2e-3)
SPECS = [
    # The first has a shape of its own, as the published configuration does.
    TrialSpec(0, replace(TINY, global_pool="avg"), RECIPE, seed=0),
    *(TrialSpec(index, TINY, replace(RECIPE, learning_rate=rate), seed=index) for index, rate in enumerate(RATES, 1)),
]
RUNGS = Rungs(1, 2, 6)


class _Heard(Observer):
    """Notes what observers are notified of."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.fused: list[list[int]] = []
        self.kept_apart: list[int] = []

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        self.fused.append([spec.index for spec in specs])

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        self.kept_apart.append(spec.index)

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.epochs.append((spec.index, epoch.number))


class _KillsMidEpoch(_Heard):
    """Kills the process of the fused trials while it trains the epoch after the first."""

    def __init__(self) -> None:
        super().__init__()
        self.killer: threading.Thread | None = None

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        super().trials_fused(specs)
        children = psutil.Process().children(recursive=True)
        (self._process,) = (child for child in children if title_of(child).startswith("ray::FusedTrials"))

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        super().epoch_done(spec, epoch)
        if spec.index > 0 and self.killer is None:
            self.killer = threading.Thread(target=self._kill_at_work, daemon=True)
            self.killer.start()

    def _kill_at_work(self) -> None:
        while "next_epochs" not in title_of(self._process):
            time.sleep(0.001)
        self._process.send_signal(signal.SIGKILL)


def _search(
    folder: Path,
    fusing: Fusing | None,
    *observers: Observer,
    specs: Sequence[TrialSpec] = SPECS,
    rungs: Rungs = RUNGS,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[TrialRecord]:
    return run_search(digit_search(specs, folder, rungs, fusing=fusing), list(observers), interrupted)


def _course(records: list[TrialRecord]) -> list[object]:
    """Returns how the trials went: their outcomes, their rounded accuracies and ASHA's decisions."""
    return [
        (record.outcome, [round(epoch.accuracy, 6) for epoch in record.epochs], record.decisions) for record in records
    ]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    return _search(tmp_path_factory.mktemp("one by one"), None)


def test_the_same_is_decided_as_one_by_one(tmp_path: Path, one_by_one: list[TrialRecord]) -> None:
    heard = _Heard()
    assert _course(_search(tmp_path, Fusing(8), heard)) == _course(one_by_one)
    assert heard.fused == [[1, 2, 3, 4, 5, 6]]
    assert {record.outcome for record in one_by_one} == {"finished", "asha"}


def test_a_process_killed_in_an_epoch_loses_nothing_and_repeats_nothing(
    tmp_path: Path, one_by_one: list[TrialRecord]
) -> None:
    killer = _KillsMidEpoch()
    records = _search(tmp_path, Fusing(8), killer)
    assert killer.killer is not None
    killer.killer.join(timeout=DEADLINE)
    assert not killer.killer.is_alive()
    assert len(killer.fused) == 2  # fused again in the process that took over
    assert _course(records) == _course(one_by_one)
    assert len(killer.epochs) == len(set(killer.epochs)) == sum(len(record.epochs) for record in records)


def test_the_user_may_stop_it_and_go_on_one_by_one(tmp_path: Path, one_by_one: list[TrialRecord]) -> None:
    heard = _Heard()
    records = _search(tmp_path, Fusing(8), heard, interrupted=lambda: (3, 1) in heard.epochs)
    stopped = {record.index for record in records if record.outcome == "interrupted"}
    assert stopped
    assert stopped <= set(range(1, 7))
    assert max(epoch for index, epoch in heard.epochs if index > 0) <= 2  # it ended with the current epoch
    assert _course(_search(tmp_path, None)) == _course(one_by_one)


def test_a_trial_that_diverges_leaves_the_others_to_their_ends_and_to_mlflow(tmp_path: Path) -> None:
    diverging = replace(SPECS[2], recipe=replace(RECIPE, learning_rate=1e30))
    specs = [SPECS[0], SPECS[1], diverging, SPECS[3]]
    with recorded_runs(tmp_path) as runs:
        records = _search(tmp_path, Fusing(3), runs, specs=specs, rungs=Rungs(6, 3, 6))
    assert [record.outcome for record in records] == ["finished", "finished", "diverged", "finished"]
    assert records[2].error == "the training loss is not finite in epoch 1"
    client = client_of(tmp_path)
    logged = [client.get_run(runs.tracker.run_id(trial_key(index))) for index in range(4)]
    assert [run.data.tags.get(FUSED_TAG) for run in logged] == [None, "3", "3", "3"]
    for record, run in zip(records, logged, strict=True):
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert [(entry.step, entry.value) for entry in history] == [
            (epoch.number, epoch.loss) for epoch in record.epochs
        ]


def test_trials_that_no_memory_holds_together_are_halved_and_then_tried_alone(tmp_path: Path) -> None:
    heard = _Heard()
    too_large = replace(TINY, in_chans=2**42)  # 9 PB for the first weight
    specs = [SPECS[0], *(replace(spec, model=too_large) for spec in SPECS[1:5])]
    records = _search(tmp_path, Fusing(8), heard, specs=specs, rungs=Rungs(6, 3, 6))
    assert [record.outcome for record in records] == ["finished", *["failed"] * 4]
    assert all(str(record.error).startswith("out of memory: ") for record in records[1:])
    # No trials were fused, although it was tried with four and with two of them.
    assert (heard.fused, heard.kept_apart) == ([], [1, 3, 2, 4])


def test_no_more_are_trained_as_one_than_the_user_says(tmp_path: Path) -> None:
    heard = _Heard()
    short = [replace(spec, recipe=replace(spec.recipe, epochs=1)) for spec in SPECS[1:5]]
    records = _search(tmp_path, Fusing(2), heard, specs=short, rungs=Rungs(1, 3, 1))
    assert heard.fused == [[1, 3], [2, 4]]
    assert {record.outcome for record in records} == {"finished"}


@pytest.mark.parametrize(("worthwhile", "fused"), [(0.0, [[1, 2, 3]]), (1000.0, [])])
def test_measured_gain_decides(
    worthwhile: float, fused: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gain depends on this machine, so that the limit for it is set below and above any gain."""
    monkeypatch.setattr(fused_groups, "WORTHWHILE_GAIN", worthwhile)
    heard = _Heard()
    short = [replace(spec, recipe=replace(spec.recipe, epochs=1)) for spec in SPECS[1:4]]
    records = _search(tmp_path, Fusing(), heard, specs=short, rungs=Rungs(1, 3, 1))
    assert heard.fused == fused
    assert {record.outcome for record in records} == {"finished"}


def test_the_command_of_the_readme(tmp_path: Path) -> None:
    ((module, *flags),) = (words for words in commands_of("pipeline.sweep") if "--fuse" in words)
    short = "--max-epochs 1 --train-limit 200 --precision fp32 --max-concurrent 1"
    planned = run_here(module, tmp_path, *flags, *short.split(), "--plan")
    assert re.search(r"^fused, \d+\.\d times as fast: trials 1, 2, 3$", planned.stdout, re.MULTILINE)
    done = run_here(module, tmp_path, *flags, *short.split())
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "fused: trials 1, 2, 3" in done.stdout
    assert "4/4 trials ended (4 finished)" in done.stdout
