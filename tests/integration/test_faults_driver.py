"""Tests that a killed, repeated or extended sweep keeps all results and does nothing twice."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.commands import (
    assert_gone,
    processes_below,
    run_here,
    runs_of,
    start,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import (
    assert_recorded_once,
    ended_trials,
    ends,
    epochs_of,
    history_of,
    ledger_of,
    results,
    stamps,
    summary,
    trial_path,
)

pytestmark = pytest.mark.slow

# ASHA stops one of these five trials at each rung, and the last trial is the best.
SWEEP = (
    "--dataset", "digits", "--train-limit", "500", "--seed", "1", "--trials", "5", "--max-epochs", "8",
    "--grace-epochs", "2", "--precision", "fp32", "--max-concurrent", "1", "--until", "search",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_here("pipeline.sweep", folder, *SWEEP, "--json", "result.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def ray_agents() -> Iterator[list[psutil.Process]]:
    """The agents of Rays whose driver was killed; each tries in vain for a minute to report that, then ends itself.

    The fixture waits for them at the end of the session, so that other tests can run in the meantime.
    """
    agents: list[psutil.Process] = []
    yield agents
    assert_gone(agents, within=90)


def test_a_driver_that_is_killed_twice_and_torn_checkpoints_change_no_result(
    undisturbed: Path, ray_agents: list[psutil.Process], tmp_path: Path
) -> None:
    sweeps = tmp_path / "sweeps"
    ray_agents += _kill_driver(tmp_path, in_trial=2)
    assert ended_trials(sweeps) == {0, 1}
    first_two, third = stamps(sweeps, {0, 1}), history_of(sweeps, 2).epochs
    torn = _tear(trial_path(sweeps, 2) / "latest.pt")

    ray_agents += _kill_driver(tmp_path, in_trial=4)
    assert ended_trials(sweeps) == {0, 1, 2, 3}
    first_four, over = stamps(sweeps, {0, 1, 2, 3}), ends(trial_runs_of(tmp_path))
    assert first_two.items() <= first_four.items()
    assert history_of(sweeps, 2).epochs[: len(third) - 1] == third[:-1]  # resumed, not trained from the start
    lost = [_tear(trial_path(sweeps, 4) / name) for name in ("latest.pt", "previous.pt")]

    done = run_here("pipeline.sweep", tmp_path, *SWEEP, "--json", "result.json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for path in lost:
        assert f"warning: trial 4 resumes from an earlier checkpoint: {path} cannot be read" in done.stdout
    assert results(summary(tmp_path)) == results(summary(undisturbed))
    for trial in range(5):
        assert _decisions(sweeps, trial) == _decisions(undisturbed / "sweeps", trial)
    assert stamps(sweeps, {0, 1, 2, 3}) == first_four
    assert_recorded_once(tmp_path, sweeps)
    assert over.items() <= ends(trial_runs_of(tmp_path)).items()
    tags_of_runs = [run.data.tags for run in trial_runs_of(tmp_path) if "pipeline.refused_checkpoint" in run.data.tags]
    refused = {tags["pipeline.trial"]: tags["pipeline.refused_checkpoint"].partition(" ")[0] for tags in tags_of_runs}
    assert refused == {"2": str(torn), "4": str(lost[-1])}


def test_a_finished_search_is_not_run_again_and_may_be_extended(undisturbed: Path) -> None:
    sweeps, first_summary = undisturbed / "sweeps", summary(undisturbed)
    files, runs = stamps(sweeps, set(range(5))), ends(runs_of(undisturbed))
    (memory,) = sweeps.glob("*/session.json")
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "finished": False}))  # as if it had died at its end
    again = run_here("pipeline.sweep", undisturbed, *SWEEP, "--json", "again.json")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(memory.read_text())["finished"] is True  # so `pipeline.doctor` does not ask to go on with it
    assert re.match(r"prepare: cached from run \w{8} \(.*\)\nsearch: cached from run \w{8} \(.*\)\n", again.stdout)
    assert results(summary(undisturbed, "again.json")) == results(first_summary)
    assert ends(runs_of(undisturbed)) == runs

    soon = ("--stall-minutes", "0.002")  # shorter than the start of a worker
    more = run_here("pipeline.sweep", undisturbed, *SWEEP, *soon, "--trials", "7", "--json", "more.json")
    assert (more.returncode, more.stderr) == (0, ""), more.stdout + more.stderr
    stalled = r"^nothing has progressed for .*(\n  .*)*\n  trial [56] (started|ended epoch) "
    assert re.search(stalled, more.stdout, re.MULTILINE), more.stdout
    assert "search: run, because trials changed (5 -> 7)\n" in more.stdout
    rows = {row["trial"]: row for row in summary(undisturbed, "more.json")["leaderboard"]}
    assert sorted(rows) == list(range(7))
    for row in first_summary["leaderboard"]:
        assert {**rows[row["trial"]], "rank": row["rank"]} == row
    # ASHA knows the earlier results: it compares the new trials with all others.
    firsts = [row["decisions"][0] for _, row in sorted(rows.items())]
    assert [decision["of"] for decision in firsts] == list(range(1, 8))
    assert stamps(sweeps, set(range(5))) == files
    trials = {row["run_id"]: runs[row["run_id"]] for row in first_summary["leaderboard"]}
    assert trials.items() <= ends(runs_of(undisturbed)).items()
    assert_recorded_once(undisturbed, sweeps, stages=("prepare", "search", "search"))


def _kill_driver(folder: Path, in_trial: int) -> list[psutil.Process]:
    """Runs the sweep, and kills only its driver when the trial has trained two epochs; its children end on their own.

    Returns Ray's agents, which take longer to end than the other processes.
    """
    sweeps = folder / "sweeps"
    with start("pipeline.sweep", folder, *SWEEP, "--json", "result.json") as process:
        wait_until(lambda: trial_path(sweeps, in_trial).exists(), process)
        below = {child: child.name() for child in processes_below(process)}
        wait_until(lambda: epochs_of(sweeps, in_trial) >= 2, process)
        process.kill()
    assert any(name.startswith("ray::") and "Agent" not in name for name in below.values()), below
    agents = [child for child, name in below.items() if name in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")]
    assert_gone([child for child in below if child not in agents])
    return agents


def _tear(state: Path) -> Path:
    """Cuts a checkpoint in half, as a failing disk might, and returns its path."""
    # The process may have died after it had moved the previous checkpoint away, and before it had written the next one.
    whole = (state if state.exists() else state.with_name("previous.pt")).read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    return state


def _decisions(sweeps: Path, trial: int) -> tuple[object, ...]:
    ledger = ledger_of(sweeps, trial)
    assert ledger is not None
    return ledger.decisions, ledger.outcome
