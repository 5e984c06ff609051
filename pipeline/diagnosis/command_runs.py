"""Finds the runs of commands in a tracking store, and tells whether a command is still under way."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.session.lock import lock_holder, locked, os_user
from pipeline.tracking.events import RECORD_TAG
from pipeline.tracking.pages import all_pages

FOLDER_TAG = "pipeline.folder"
"""A tag that only a command's own run has, not the runs of its stages and trials."""
HOST_TAG = "pipeline.host"
OS_USER_TAG = "pipeline.os_user"
OWNER = re.compile("[0-9a-f]{32}")


class CommandRuns:
    """The runs that this pipeline wrote. A command owns the runs tagged with its id, which its folder keeps."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        experiments = all_pages(lambda token: client.search_experiments(page_token=token))
        self._experiments = [experiment.experiment_id for experiment in experiments]

    def running(self) -> list[Run]:
        """All runs that are marked RUNNING, whoever owns them."""
        return self._search("attributes.status = 'RUNNING' AND tags.`pipeline.kind` LIKE '%'")

    def running_of(self, owner: str) -> list[Run]:
        """The runs of one command that are marked RUNNING, its own run last."""
        runs = self._search(f"attributes.status = 'RUNNING' AND tags.`{RECORD_TAG}` LIKE '{owner}/%'")
        return sorted(runs, key=lambda run: FOLDER_TAG in run.data.tags)

    def command_run(self, owner: str) -> Run | None:
        """The run of the command itself."""
        found = self._search(f"tags.`{RECORD_TAG}` LIKE '{owner}/%' AND tags.`{FOLDER_TAG}` LIKE '%'")
        return found[0] if found else None

    def end_as_interrupted(self, run: Run) -> None:
        """Ends a run in the state in which Ctrl-C leaves it, so that the same command resumes it."""
        self._client.set_tag(run.info.run_id, "pipeline.stopped", "interrupted")
        self._client.set_terminated(run.info.run_id, "KILLED")

    def experiment_of(self, run: Run) -> str:
        return str(self._client.get_experiment(run.info.experiment_id).name)

    def _search(self, condition: str) -> list[Run]:
        search = partial(self._client.search_runs, self._experiments, condition, max_results=1000)
        return list(all_pages(lambda token: search(page_token=token)))


def owner_of(run: Run) -> str | None:
    """The id of the command that a run belongs to; None where the run does not say."""
    owner = run.data.tags.get(RECORD_TAG, "").partition("/")[0]
    return owner if OWNER.fullmatch(owner) else None


@dataclass(frozen=True)
class LockState:
    """Whether a command is under way in a folder, as far as this machine can tell."""

    state: Literal["held", "free", "unknown"]
    reason: str = ""
    """Why the state is unknown."""


def lock_state(folder: str, run: Run | None) -> LockState:
    """Checks a folder's lock, if this lock would be on this machine; otherwise the state is unknown.

    Args:
        folder: path or URI.
        run: the command's own run, if it is known.
    """
    reason = _why_lock_tells_nothing(folder, run)
    if reason is not None:
        return LockState("unknown", reason)
    try:
        return LockState("free" if lock_holder(folder) is None else "held")
    except OSError as error:
        return LockState("unknown", f"its lock cannot be read: {error}")


def _why_lock_tells_nothing(folder: str, run: Run | None) -> str | None:
    tags = run.data.tags if run is not None else {}
    host, user = tags.get(HOST_TAG), tags.get(OS_USER_TAG, tags.get("mlflow.user"))  # older runs have only the latter
    is_this_machine = host == socket.gethostname()
    if host is not None and not is_this_machine:
        return f"it ran on {host}"
    if "://" not in folder:
        return None if is_this_machine or Path(folder).is_dir() else f"its folder {folder} is not on this machine"
    # The lock of a folder in an object store is a file on this machine, which belongs to this user.
    if not is_this_machine:
        return f"{folder} has no lock of its own, and its run does not say on which machine it ran"
    return None if user == os_user() else f"it ran as user {user}"


@contextmanager
def held_for_mending(folder: str) -> Iterator[None]:
    """Locks a folder, so that no command starts in it during the block.

    Raises:
        UsageError: a command is under way in it.
    """
    if "://" not in folder and not Path(folder).is_dir():
        yield  # locking would create the folder again
        return
    with locked(folder):
        yield
