"""Finds folders of sweeps and trainings without a run in MLflow, unfinished ones, and leftovers in them."""

from collections.abc import Iterator

from pipeline.diagnosis.command_folders import CommandFolder
from pipeline.diagnosis.command_runs import CommandRuns, lock_state
from pipeline.diagnosis.finding import Finding, size_text
from pipeline.diagnosis.leftovers import find_leftovers, leftovers_finding
from pipeline.diagnosis.stale_runs import command_line
from pipeline.session.folder import SESSION_FILE


def check_folder(folder: CommandFolder, records: CommandRuns) -> Iterator[Finding]:
    """Checks a folder, unless a command is under way in it."""
    run = records.command_run(folder.owner) if folder.owner is not None else None
    lock = lock_state(folder.uri, run)
    if lock.state == "held":
        return
    files = folder.files()
    if run is None:
        yield _without_run(folder, sum(files.values()))
    elif lock.state == "free" and not folder.is_finished:
        advice = f"to go on: {command_line(run)}"
        yield Finding("unfinished", folder.uri, "is not finished", advice, "information")
    leftovers = find_leftovers(files, folder.has_outcome)
    if leftovers:
        yield leftovers_finding(folder, leftovers, lock)


def _without_run(folder: CommandFolder, size: int) -> Finding:
    problem, advice = (
        "has no run in this tracking store",
        "run its command again, which records everything in MLflow again",
    )
    if folder.owner is None:
        problem, advice = f"has a {SESSION_FILE} that cannot be read", f"remove {SESSION_FILE} and {advice}"
    return Finding(
        "checkpoint", folder.uri, f"({size_text(size)}) {problem}", f"{advice}; or remove the folder",
        details={"bytes": size},
    )  # fmt: skip
