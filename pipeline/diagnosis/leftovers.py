"""Finds and removes the files in a command's folder that nothing needs any more."""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial

from pipeline.diagnosis.command_folders import CommandFolder
from pipeline.diagnosis.command_runs import LockState, held_for_mending
from pipeline.diagnosis.finding import Finding, first_names, size_text
from pipeline.errors import PipelineError
from pipeline.session.folder import (
    AUDIT_FOLDER,
    FINALISTS_FOLDER,
    PROBE_FILE,
    RAY_TRAIN_FOLDER,
    TRIALS_FOLDER,
    TUNE_FOLDER,
)
from vit.files.storage import PREVIOUS_STATE_FILE, STATE_FILE, Folder

TRIAL_FOLDER = re.compile(rf"((?:{TRIALS_FOLDER}|{AUDIT_FOLDER}|{FINALISTS_FOLDER}/\d+)/\d{{5}})/([^/]+)(?:/.*)?")
"""Matches a path in the folder of a trial, a finalist or an audited trial; groups: that folder, the name within it."""
NEEDED_BY_A_COMMAND = (TUNE_FOLDER, RAY_TRAIN_FOLDER, PROBE_FILE)
"""What a command needs in its folder as long as it is under way."""
NEEDED_TO_GO_ON = (STATE_FILE, PREVIOUS_STATE_FILE)
"""What resuming a trial needs in its folder, until the trial is over."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""Matches the temporary name of a file, which is left behind if its writer dies (`vit.files.storage`)."""


def leftovers_finding(folder: CommandFolder, leftovers: Mapping[str, int], lock: LockState) -> Finding:
    size = sum(leftovers.values())
    problem = f"holds {size_text(size)} that nothing needs ({first_names([*leftovers])})"
    details = {"paths": [*leftovers], "bytes": size}
    if lock.state == "unknown":
        advice = f"left alone, since a command may be under way ({lock.reason})"
        return Finding("leftover", folder.uri, problem, advice, "information", details)
    mend = partial(_remove_leftovers, folder)
    return Finding("leftover", folder.uri, problem, "--fix removes it", details=details, mend=mend)


def _remove_leftovers(folder: CommandFolder) -> str:
    with held_for_mending(folder.uri):
        leftovers = find_leftovers(folder.files(), folder.has_outcome)
        for path in leftovers:
            parent, _, name = f"{folder.uri}/{path}".rpartition("/")
            remove = Folder(parent).remove_folder if name in (TUNE_FOLDER, RAY_TRAIN_FOLDER) else Folder(parent).remove
            remove(name)
        left = find_leftovers(folder.files(), folder.has_outcome)
    if left:
        raise PipelineError(f"{first_names([*left])} is still there")
    return f"removed, {size_text(sum(leftovers.values()))} freed"


def find_leftovers(files: Mapping[str, int], has_outcome: Callable[[str], bool]) -> dict[str, int]:
    """Returns the sizes of the files and folders that the next command in this folder would not read, by path.

    Args:
        files: the size of everything in the folder, by path.
        has_outcome: tells whether a trial, given by the path of its folder, has an outcome.
    """
    has_outcome = cache(has_outcome)
    found: dict[str, int] = {}
    for path, size in sorted(files.items()):
        leftover = _leftover_with(path, has_outcome)
        if leftover is not None:
            found[leftover] = found.get(leftover, 0) + size
    return found


def _leftover_with(path: str, has_outcome: Callable[[str], bool]) -> str | None:
    """Returns the leftover, a file or a whole folder, that this path belongs to; None if it must be kept."""
    first = path.partition("/")[0]
    if first in NEEDED_BY_A_COMMAND:
        return first
    if TEMPORARY.fullmatch(path.rpartition("/")[2]):
        return path
    within = TRIAL_FOLDER.fullmatch(path)
    if within is None:
        return None
    trial, name = within.groups()
    return f"{trial}/{name}" if name in NEEDED_TO_GO_ON and has_outcome(trial) else None
