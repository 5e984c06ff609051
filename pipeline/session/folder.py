"""A command's folder: its name, its contents, and which of several numbered folders of the same name to continue in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError, disk_full
from vit.files.storage import Folder

SESSION_FILE = "session.json"
"""The file with the values that all commands over this folder share (`pipeline.session.memory`)."""
TRAINED_IN = "trained_in"
"""The key in that file for the folders of earlier commands in which trainings are resumed."""
PROBE_FILE = "probe"
"""A file that is written and immediately removed, to see whether the storage can be written and has room."""
TUNE_FOLDER = "tune"
"""The folder of Ray Tune's own files, which is needed while a search runs."""
RAY_TRAIN_FOLDER = "ray-train"
"""The folder of Ray Train's own files and of the instructions for its workers, which is needed while they run."""
TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER = "trials", "audit", "finalists"
"""The folders of a search's trials, of the trials that ASHA stopped and the audit trains to their full length, and of
the finalists (with one folder per seed)."""
_TRAINED_BEFORE = {
    "baseline": (TRIALS_FOLDER, AUDIT_FOLDER),
    "confirm": (TRIALS_FOLDER, AUDIT_FOLDER),
    "audit": (TRIALS_FOLDER, FINALISTS_FOLDER),
    "evaluate": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
    "register": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
    "report": (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER),
}
"""By stage: the folders whose trainings belong neither to the stage nor to any that depends on it."""
COMPILED_FOLDER = "compiled"
"""The folder with the code that torch has compiled; it is in the storage itself, for all commands."""
FETCHED_FOLDER = "fetched"
"""The folder for weights that were downloaded from MLflow because the training's own folder does not have them."""


def folder_to_use(folder: str, forced: str | None) -> str:
    """Returns the folder to continue in: the newest of its name, or a new one if earlier results are to be ignored.

    If the newest folder belongs to an unfinished command with the same flag `forced`, that command is resumed.

    Args:
        folder: path or URI of the first folder of its name; the later ones are `<folder>-2` and so on.
        forced: the flag that makes the command ignore earlier results, if any.
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
    """Returns the folders of earlier commands in which a command over a new folder resumes trainings.

    The keys are the names of the folders below them, such as `trials`. Without this, a command for more trials after a
    `--from report` would train the earlier trials again.

    Args:
        folder: path or URI of the new folder, as `folder_to_use` returns it.
        forced: the flag that makes the command ignore earlier results, if any.
    """
    base, _, number = folder.rpartition("-")
    kept = _TRAINED_BEFORE.get((forced or "").removeprefix("--from "), ())
    if not kept or not number.isdecimal():
        return {}
    before = base if number == "2" else f"{base}-{int(number) - 1}"
    known = read_session_file(Folder(before))
    if known is None:  # `folder` is the first of its name, and the name itself ends in a number
        return {}
    return {name: known.get(TRAINED_IN, {}).get(name, before) for name in kept}


def read_session_file(folder: Folder) -> dict[str, Any] | None:
    """Returns the values in the session file of a command's folder; None if there is no such file.

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
            "records everything in new runs but trains nothing twice"
        ) from error
    return values


def holds_trainings(folder: Folder) -> bool:
    """Whether a command has trained in the folder; known even if its session file was lost."""
    return any(folder.exists(name) for name in (TRIALS_FOLDER, AUDIT_FOLDER, FINALISTS_FOLDER))


def _numbered(folder: str, number: int) -> str:
    return folder if number == 1 else f"{folder}-{number}"


@contextmanager
def storage_errors(folder: str) -> Iterator[None]:
    """Turns the errors of an unusable storage into UsageError; the error of a full disk is passed on unchanged."""
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        # In this order: no such bucket or key, no client library for this kind of storage, or no such kind.
        if disk_full(error):
            raise
        raise UsageError(f"--storage leads to {folder}, which cannot be used: {error}") from error


def refuse_unwritable_storage(folder: str) -> None:
    """Raises UsageError if the folder cannot be written."""
    with storage_errors(folder):
        target = Folder(folder)
        target.write(PROBE_FILE, b"room for this?")
        target.remove(PROBE_FILE)


def absolute_storage(storage: str) -> str:
    """Returns the storage as an absolute path, or its URI: trials run in other working folders, and on other nodes."""
    return storage.rstrip("/") if "://" in storage else str(Path(storage).resolve())
