"""Copies a whole store: checks that it can be copied, copies files and rows, and reads all of it back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from pipeline.copy_store.experiments import find_or_create_experiments, source_experiments
from pipeline.copy_store.files import copy_files, verify_files
from pipeline.copy_store.refusals import refuse_unfit, uncopied
from pipeline.copy_store.relocation import Relocation
from pipeline.copy_store.rows import Counts, verify_rows, write_rows
from vit.files.storage import Folder


@dataclass(frozen=True)
class StoreCopy:
    """What the target contains after the copy."""

    experiments: dict[str, int]
    """The experiments' ids in the target, by name."""
    files: int
    size: int
    """The size of all files together, in bytes."""
    changed_files: int
    """How many files were in the target before and differ from those in the source; they were kept."""
    rows: dict[str, Counts]
    """The counts of rows by table."""
    left: dict[str, int]
    """How many rows were not copied, by table."""


def copy_store(source: sa.Engine, target: sa.Engine, artifacts: Folder, say: Callable[[str], None]) -> StoreCopy:
    """Copies all that trainings and the registry wrote, and reads it back.

    The files come first, then all rows in one transaction: wherever the copy is interrupted, the target has no run
    whose files are missing, and the same call resumes the copy.

    Args:
        source: a store that nothing writes to; it is only read.
        target: the database of a server, which may be running.
        artifacts: where the server keeps its artifacts.
        say: called with a line that tells the user what happens next.

    Raises:
        UsageError: the store cannot be copied; nothing was written.
        PipelineError: what was written does not read back the same.
    """
    folder = Path(str(source.url.database)).parent if source.dialect.name == "sqlite" else None
    with source.connect() as ours:
        with target.connect() as theirs:
            refuse_unfit(ours, theirs)
        found = source_experiments(ours, folder)
        with target.begin() as theirs:
            experiments = find_or_create_experiments(theirs, found)
            relocation = Relocation(ours, theirs, experiments)
        say(f"copying the files of {len(relocation.folders)} runs and models")
        files = copy_files(relocation.folders, artifacts)
        say("copying the rows")
        with target.begin() as theirs:
            rows = write_rows(ours, theirs, relocation)
        say("reading all of it back")
        verify_files(files, artifacts)
        with target.connect() as theirs:
            verify_rows(ours, theirs, relocation, rows)
        ids = {each.name: each.new_id for each in experiments}
        size, changed = sum(file.size for file in files), sum(file.changed for file in files)
        return StoreCopy(ids, len(files), size, changed, rows, uncopied(ours))
