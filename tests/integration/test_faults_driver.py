"""A sweep whose driver is killed, is run again, is asked for more: what was done stands, and nothing is done twice."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.commands import (
    assert_gone,
    client_of,
    processes_below,
    run_to_end,
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

# Of these five trials ASHA stops one at each rung, and the last one wins.
SWEEP = (
    "--dataset", "digits", "--train-limit", "500", "--seed", "1", "--trials", "5", "--max-epochs", "8",
    "--grace-epochs", "2", "--precision", "fp32", "--max-concurrent", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sweep when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_to_end("pipeline.sweep", folder, *SWEEP, "--json", "result.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def ray_agents() -> Iterator[list[psutil.Process]]:
    """Those of Rays whose driver was killed: each tells of it for a minute, though nobody listens, and ends itself."""
    agents: list[psutil.Process] = []
    yield agents
    assert_gone(agents, within=90)


def test_a_driver_that_is_killed_twice_and_a_torn_checkpoint_change_no_result(
    undisturbed: Path, ray_agents: list[psutil.Process], tmp_path: Path
) -> None:
    sweeps = tmp_path / "sweeps"
    ray_agents += _kill_driver(tmp_path, lambda: epochs_of(sweeps, 2) >= 1)
    assert ended_trials(sweeps) == {0, 1}
    first_two, third = stamps(sweeps, {0, 1}), history_of(sweeps, 2).epochs

    # The second driver also writes the ends that the first one had no time for.
    ray_agents += _kill_driver(tmp_path, lambda: len(ends(trial_runs_of(tmp_path))) >= 2 and epochs_of(sweeps, 4) >= 2)
    assert ended_trials(sweeps) == {0, 1, 2, 3}
    first_four, fifth, over = stamps(sweeps, {0, 1, 2, 3}), history_of(sweeps, 4).epochs, ends(trial_runs_of(tmp_path))
    assert first_two.items() <= first_four.items()
    assert history_of(sweeps, 2).epochs[: len(third)] == third  # gone on with, not begun again
    torn = _tear_checkpoint(trial_path(sweeps, 4))

    done = run_to_end("pipeline.sweep", tmp_path, *SWEEP, "--json", "result.json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert f"warning: trial 4 goes on from an earlier checkpoint: {torn} cannot be read" in done.stdout
    assert history_of(sweeps, 4).epochs[: len(fifth) - 1] == fifth[:-1]
    assert results(summary(tmp_path)) == results(summary(undisturbed))
    for trial in range(5):
        assert _decisions(sweeps, trial) == _decisions(undisturbed / "sweeps", trial)
    assert stamps(sweeps, {0, 1, 2, 3}) == first_four
    assert_recorded_once(tmp_path, sweeps)
    assert over.items() <= ends(trial_runs_of(tmp_path)).items()
    runs = {run.data.tags["pipeline.trial"]: run for run in trial_runs_of(tmp_path)}
    refused = {trial: run.data.tags.get("pipeline.refused_checkpoint", "") for trial, run in runs.items()}
    assert refused.pop("4").startswith(f"{torn} cannot be read")
    assert set(refused.values()) == {""}


def test_a_finished_sweep_is_not_run_again_and_may_be_extended(undisturbed: Path) -> None:
    sweeps, told = undisturbed / "sweeps", summary(undisturbed)
    files, runs = stamps(sweeps, set(range(5))), ends(runs_of(undisturbed))
    again = run_to_end("pipeline.sweep", undisturbed, *SWEEP, "--json", "again.json")
    assert (again.returncode, again.stderr) == (0, "")
    assert "has finished before; nothing is computed again" in again.stdout
    assert summary(undisturbed, "again.json") == told
    assert ends(runs_of(undisturbed)) == runs

    more = run_to_end("pipeline.sweep", undisturbed, *SWEEP, "--trials", "7", "--json", "more.json")
    assert (more.returncode, more.stderr) == (0, ""), more.stdout + more.stderr
    rows = {row["trial"]: row for row in summary(undisturbed, "more.json")["leaderboard"]}
    assert sorted(rows) == list(range(7))
    for row in told["leaderboard"]:
        assert {**rows[row["trial"]], "rank": row["rank"]} == row
    assert stamps(sweeps, set(range(5))) == files
    trials = {row["run_id"]: runs[row["run_id"]] for row in told["leaderboard"]}
    assert trials.items() <= ends(runs_of(undisturbed)).items()
    assert_recorded_once(undisturbed, sweeps)
    registered = client_of(undisturbed).search_model_versions("name='vit-digits'")
    winners = {told["winner"]["trial"], summary(undisturbed, "more.json")["winner"]["trial"]}
    assert len(registered) == len(winners)


def _kill_driver(folder: Path, condition: Callable[[], bool]) -> list[psutil.Process]:
    """Runs the sweep until the condition is true, and kills its driver alone; all below it ends by itself.

    Gives Ray's agents, which take longer than all others.
    """
    with start("pipeline.sweep", folder, *SWEEP, "--json", "result.json") as process:
        wait_until(lambda: (folder / "mlflow.db").exists() and condition(), process)
        below = {child: child.name() for child in processes_below(process)}
        process.kill()
    assert any(name.startswith("ray::") and "Agent" not in name for name in below.values()), below
    agents = [child for child, name in below.items() if name in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")]
    assert_gone([child for child in below if child not in agents])
    return agents


def _tear_checkpoint(trial: Path) -> Path:
    """Leaves half of the last one, as a disk that failed would."""
    latest = trial / "latest.pt"
    # The process may have died between moving the one before away and writing the next.
    whole = (latest if latest.exists() else trial / "previous.pt").read_bytes()
    latest.write_bytes(whole[: len(whole) // 2])
    return latest


def _decisions(sweeps: Path, trial: int) -> tuple[object, ...]:
    ledger = ledger_of(sweeps, trial)
    assert ledger is not None
    return ledger.decisions, ledger.outcome
