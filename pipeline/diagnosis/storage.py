"""The folders of sweeps and trainings: those that MLflow knows nothing of, and files in them that nothing needs."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import fsspec

from pipeline.diagnosis.command_runs import OWNER, LockState, Records, held_for_mending, lock_state
from pipeline.diagnosis.finding import Finding, in_words, some
from pipeline.diagnosis.stale_runs import command_line
from pipeline.errors import PipelineError, UsageError
from pipeline.session.folder import (
    AUDIT_FOLDER,
    FINALISTS_FOLDER,
    PROBE_FILE,
    RAY_TRAIN_FOLDER,
    SESSION_FILE,
    TRIALS_FOLDER,
    TUNE_FOLDER,
    absolute_storage,
)
from pipeline.trials.folder import TrialLedger
from vit.files.storage import PREVIOUS_STATE_FILE, STATE_FILE, Folder

TRIAL_FOLDER = re.compile(rf"((?:{TRIALS_FOLDER}|{AUDIT_FOLDER}|{FINALISTS_FOLDER}/\d+)/\d{{5}})/([^/]+)(?:/.*)?")
"""What stands in the folder of a trial, a finalist or an audited trial."""
NEEDED_BY_A_COMMAND = (TUNE_FOLDER, RAY_TRAIN_FOLDER, PROBE_FILE)
"""In its folder, as long as it is under way."""
NEEDED_TO_GO_ON = (STATE_FILE, PREVIOUS_STATE_FILE)
"""In a trial's folder, until it is over."""
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""What is left of a file whose writer died while it wrote (`vit.files.storage`)."""


@dataclass(frozen=True)
class CommandFolder:
    """The folder of a sweep or a training."""

    uri: str
    owner: str | None
    """The command's id; None where it cannot be read."""

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    def files(self) -> dict[str, int]:
        """Everything in it, by its path in the folder, with its size; folders, of 0 bytes, too.

        Raises:
            UsageError, PipelineError: it cannot be read.
        """
        with _reading(self.uri):
            fs, root = fsspec.core.url_to_fs(self.uri)
            fs.invalidate_cache()
            found = fs.find(root, withdirs=True, detail=True)
        start = len(str(root).rstrip("/")) + 1
        sizes = {str(path)[start:]: about["size"] for path, about in found.items() if about["type"] == "file"}
        folders = {str(path)[start:]: 0 for path, about in found.items() if about["type"] == "directory"}
        return {path: int(size or 0) for path, size in {**folders, **sizes}.items() if path}

    @property
    def is_finished(self) -> bool:
        """Whether its last command came to its end."""
        try:
            return bool(json.loads(Folder(self.uri).read(SESSION_FILE)).get("finished"))
        except ValueError:  # broken
            return False

    def is_over(self, trial: str) -> bool:
        """Whether a trial, by the path of its folder in this one, has an outcome."""
        try:
            ledger = TrialLedger.read(Folder(f"{self.uri}/{trial}"))
        except PipelineError:  # broken
            return False
        return ledger is not None and ledger.outcome is not None


def command_folders(storage: str, must_exist: bool) -> list[CommandFolder]:
    """Every folder of a command in a storage (path or URI).

    Raises:
        UsageError: it is missing though it must exist, or there can be no such location.
        PipelineError: it cannot be read.
    """
    base = absolute_storage(storage)
    try:
        with _reading(storage):
            fs, root = fsspec.core.url_to_fs(base)
            fs.invalidate_cache()
            names = sorted(str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False))
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_exist:
            raise UsageError(f"--storage is {storage}, but there is no such folder") from error
        return []
    uris = [f"{base}/{name}" for name in names]
    return [CommandFolder(uri, _owner_in(Folder(uri))) for uri in uris if Folder(uri).exists(SESSION_FILE)]


@contextmanager
def _reading(location: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (ImportError, ValueError) as error:  # no client for this kind; no such kind
        raise UsageError(f"--storage leads to {location}, which cannot be read: {error}") from error
    except Exception as error:  # each object store's client has errors of its own
        raise PipelineError(f"--storage leads to {location}, which cannot be read: {error}") from error


def _owner_in(folder: Folder) -> str | None:
    try:
        owner = json.loads(folder.read(SESSION_FILE))["id"]
        return owner if OWNER.fullmatch(owner) else None
    except (ValueError, TypeError, KeyError):
        return None


def check_folder(folder: CommandFolder, records: Records) -> Iterator[Finding]:
    """Looks at a folder, unless a command is under way over it."""
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
    leftovers = find_leftovers(files, folder.is_over)
    if leftovers:
        yield _leftover(folder, leftovers, lock)


def _without_run(folder: CommandFolder, size: int) -> Finding:
    problem, advice = "has no run in this tracking store", "give its command again, which tells MLflow all of it again"
    if folder.owner is None:
        problem, advice = f"has a {SESSION_FILE} that cannot be read", f"remove {SESSION_FILE} and {advice}"
    return Finding(
        "checkpoint", folder.uri, f"({in_words(size)}) {problem}", f"{advice}; or remove the folder",
        details={"bytes": size},
    )  # fmt: skip


def _leftover(folder: CommandFolder, leftovers: Mapping[str, int], lock: LockState) -> Finding:
    size = sum(leftovers.values())
    problem = f"holds {in_words(size)} that nothing needs ({some([*leftovers])})"
    details = {"paths": [*leftovers], "bytes": size}
    if lock.state == "unknown":
        advice = f"left alone, since a command may be under way ({lock.reason})"
        return Finding("leftover", folder.uri, problem, advice, "information", details)
    mend = partial(_remove_leftovers, folder)
    return Finding("leftover", folder.uri, problem, "--fix removes it", details=details, mend=mend)


def _remove_leftovers(folder: CommandFolder) -> str:
    with held_for_mending(folder.uri):
        leftovers = find_leftovers(folder.files(), folder.is_over)
        for path in leftovers:
            parent, _, name = f"{folder.uri}/{path}".rpartition("/")
            remove = Folder(parent).remove_folder if name in (TUNE_FOLDER, RAY_TRAIN_FOLDER) else Folder(parent).remove
            remove(name)
        left = find_leftovers(folder.files(), folder.is_over)
    if left:
        raise PipelineError(f"{some([*left])} is still there")
    return f"removed, {in_words(sum(leftovers.values()))} freed"


def find_leftovers(files: Mapping[str, int], is_over: Callable[[str], bool]) -> dict[str, int]:
    """The files and folders that the next command over this folder would not read, with their sizes.

    Args:
        files: everything in it, by path, with its size.
        is_over: says whether a trial, by the path of its folder, has an outcome.
    """
    is_over = cache(is_over)
    found: dict[str, int] = {}
    for path, size in sorted(files.items()):
        leftover = _leftover_with(path, is_over)
        if leftover is not None:
            found[leftover] = found.get(leftover, 0) + size
    return found


def _leftover_with(path: str, is_over: Callable[[str], bool]) -> str | None:
    """The file or folder that goes as a whole and that this path belongs to; None where it stays."""
    first = path.partition("/")[0]
    if first in NEEDED_BY_A_COMMAND:
        return first
    if TEMPORARY.fullmatch(path.rpartition("/")[2]):
        return path
    within = TRIAL_FOLDER.fullmatch(path)
    if within is None:
        return None
    trial, name = within.groups()
    return f"{trial}/{name}" if name in NEEDED_TO_GO_ON and is_over(trial) else None
