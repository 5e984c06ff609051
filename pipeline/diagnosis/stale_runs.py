"""Finds runs that are marked RUNNING although their command was killed before it could end them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mlflow.entities import Run

from pipeline.diagnosis.command_runs import FOLDER_TAG, CommandRuns, LockState, held_for_mending, lock_state, owner_of
from pipeline.diagnosis.finding import Finding, first_names


def check_runs(records: CommandRuns, folders: Mapping[str, str]) -> Iterator[Finding]:
    """Checks every run that is marked RUNNING, command by command.

    Args:
        records: the runs of the tracking store.
        folders: the commands' folders by the commands' ids; they are used for a command whose own run is gone.
    """
    running = records.running()
    strangers = [run for run in running if owner_of(run) is None]
    if strangers:
        yield _cannot_check("an unknown command", strangers, "they do not say whose they are")
    for owner in dict.fromkeys(owner for run in running if (owner := owner_of(run)) is not None):
        finding = _check_command(records, owner, folders.get(owner))
        if finding is not None:
            yield finding


def _check_command(records: CommandRuns, owner: str, known_folder: str | None) -> Finding | None:
    command = records.command_run(owner)
    folder = command.data.tags[FOLDER_TAG] if command is not None else known_folder
    lock = lock_state(folder, command) if folder is not None else LockState("unknown", "its own run is gone")
    if lock.state == "held":
        return None
    runs = records.running_of(owner)  # read after the lock: the command may have ended in between
    if not runs:
        return None
    name = str(command.info.run_name) if command is not None else f"command {owner}"
    if lock.state == "unknown" or folder is None:
        return _cannot_check(name, runs, lock.reason)
    to_go_on = _to_go_on(command, folder)
    return Finding(
        "run",
        f"{name} of experiment {records.experiment_of(runs[0])}",
        f"has runs that are marked RUNNING ({_names(runs)}), but is not under way",
        f"--fix ends them as interrupted; {to_go_on}",
        details={"folder": folder, **_ids(runs)},
        mend=lambda: f"{_end(records, owner, folder)} runs ended as interrupted; {to_go_on}",
    )


def _end(records: CommandRuns, owner: str, folder: str) -> int:
    with held_for_mending(folder):
        runs = records.running_of(owner)
        for run in runs:
            records.end_as_interrupted(run)
    return len(runs)


def _cannot_check(name: str, runs: list[Run], reason: str) -> Finding:
    problem = f"has runs that are marked RUNNING ({_names(runs)}), which cannot be checked from this machine"
    advice = f"{reason}; look on the machine where it ran whether it is still running"
    return Finding("run", name, problem, advice, "information", _ids(runs))


def _to_go_on(command: Run | None, folder: str) -> str:
    if "://" not in folder and not Path(folder).is_dir():
        return f"its folder {folder} is gone, so there is nothing to go on with"
    return f"to go on: {command_line(command)}"


def command_line(command: Run | None) -> str:
    """The command that the user typed or, if it is not known, a hint to give it again."""
    line = command.data.tags.get("pipeline.command") if command is not None else None
    return line or "give the same command again"


def _names(runs: list[Run]) -> str:
    return first_names([str(run.info.run_name) for run in runs])


def _ids(runs: list[Run]) -> dict[str, list[str]]:
    return {"run_ids": [run.info.run_id for run in runs]}
