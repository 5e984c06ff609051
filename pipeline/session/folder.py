"""A command's folder: its name, its contents, and which of several with the same name to continue in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError, disk_full
from vit.files.storage import Folder

SESSION_FILE = "session.json"
"""What this folder's commands agreed on (`pipeline.session.memory`)."""
TRAINED_IN = "trained_in"
"""In it: where what was trained before goes on, if that is elsewhere."""
PROBE_FILE = "probe"
"""Written and removed at once, to see whether there is room."""
TUNE_FOLDER = "tune"
"""Ray Tune's own files, while a search runs."""
RAY_TRAIN_FOLDER = "ray-train"
"""Ray Train's own files, and the instructions of its workers, while they run."""
TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER = "trials", "audit", "finalists"
"""Of the trials of a search; of those that ASHA stopped and that are trained on; of the finalists, a folder a seed."""
_TRAINED_BEFORE = {
    "baseline": (TRIALS_FOLDER, AUDIT_FOLDER),
    "confirm": (TRIALS_FOLDER, AUDIT_FOLDER),
    "audit": (TRIALS_FOLDER, FINALISTS_FOLDER),
    "evaluate": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
    "register": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
    "report": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
}
"""What neither a stage nor those that depend on it train."""
COMPILED_FOLDER = "compiled"
"""In the storage itself, for all commands: what torch has compiled."""
FETCHED_FOLDER = "fetched"
"""Weights from MLflow, where a training's own folder is out of reach."""


def folder_to_use(folder: str, forced: str | None) -> str:
    """The folder to go on in: the newest of its name, or a new one where all is to be computed anew.

    What was begun anew, and has not finished, goes on as well.

    Args:
        folder: path or URI of the first of its name; the later ones are `<folder>-2` and so on.
        forced: the flag by which earlier results do not count, if any.
    """
    number, memory = 0, None
    while (found := read_session_file(Folder(_numbered(folder, number + 1)))) is not None:
        number, memory = number + 1, found
    if memory is None:
        return folder
    if forced is None or (memory.get("forced") == forced and not memory.get("finished")):
        return _numbered(folder, number)
    return _numbered(folder, number + 1)


def earlier_trainings(folder: str, forced: str | None) -> dict[str, str]:
    """The folders of earlier commands in which the trainings go on that a command over a new folder does not do anew.

    By the folders' names below them. Else more trials after a `--from report` would be trained from the first.

    Args:
        folder: path or URI of the new one, as `folder_to_use` gives it.
        forced: the flag by which earlier results do not count, if any.
    """
    base, _, number = folder.rpartition("-")
    kept = _TRAINED_BEFORE.get((forced or "").removeprefix("--from "), ())
    if not kept or not number.isdecimal():
        return {}
    before = base if number == "2" else f"{base}-{int(number) - 1}"
    known = read_session_file(Folder(before))
    if known is None:  # the first of its name, which may end in a number, too
        return {}
    return {name: known.get(TRAINED_IN, {}).get(name, before) for name in kept}


def read_session_file(folder: Folder) -> dict[str, Any] | None:
    """What a command's folder remembers; None where there is none.

    Raises:
        PipelineError: the file is broken.
    """
    if not folder.exists(SESSION_FILE):
        return None
    try:
        values: dict[str, Any] = json.loads(folder.read(SESSION_FILE))
    except ValueError as error:
        raise PipelineError(
            f"{folder.uri}/{SESSION_FILE} is broken ({error}): remove it and give the same command again, which "
            "records all of it anew and trains nothing twice"
        ) from error
    return values


def holds_trainings(folder: Folder) -> bool:
    """Whether a command has trained in it, also where its memory was lost."""
    return any(folder.exists(name) for name in (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER))


def _numbered(folder: str, number: int) -> str:
    return folder if number == 1 else f"{folder}-{number}"


@contextmanager
def storage_errors(folder: str) -> Iterator[None]:
    """Turns what an unusable storage raises into UsageError; a full disk stays what it is."""
    try:
        yield
    except (OSError, ImportError, ValueError) as error:  # no bucket or key; no client for this kind; no such kind
        if disk_full(error):
            raise
        raise UsageError(f"--storage leads to {folder}, which cannot be used: {error}") from error


def refuse_unwritable_storage(folder: str) -> None:
    """Raises UsageError where nothing can be written."""
    with storage_errors(folder):
        target = Folder(folder)
        target.write(PROBE_FILE, b"room for this?")
        target.remove(PROBE_FILE)


def absolute_storage(storage: str) -> str:
    """A storage as all processes can name it: trials run in other folders, on other nodes too."""
    return storage.rstrip("/") if "://" in storage else str(Path(storage).resolve())
