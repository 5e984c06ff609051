"""Writes the rows that the target lacks, and reads all rows back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pipeline.copy_store.relocation import Relocation, Row
from pipeline.copy_store.tables import copied_tables
from pipeline.errors import PipelineError

BATCH = 500


@dataclass(frozen=True)
class Counts:
    """How many rows of a table were added, and how many were there."""

    added: int
    there: int
    """Rows that were in the target before."""
    changed: int
    """How many rows that were there differ from the source: the target has changed them since, and keeps them."""


def write_rows(source: sa.Connection, target: sa.Connection, relocation: Relocation) -> dict[str, Counts]:
    """Adds the missing rows, and returns the counts by table. The target's transaction makes it all or nothing."""
    return {each.name: _write_table(source, target, relocation, each) for each in copied_tables()}


def verify_rows(
    source: sa.Connection, target: sa.Connection, relocation: Relocation, written: Mapping[str, Counts]
) -> None:
    """Raises PipelineError if the rows that are read back are not those that were written."""
    for each in copied_tables():
        missing = different = 0
        for batch in _pairs(source, target, relocation, each):
            missing += sum(found is None for _, found in batch)
            different += sum(found is not None and found != row for row, found in batch)
        if missing or different != written[each.name].changed:
            raise PipelineError(f"{each.name} read back differently: {missing} rows missing, {different} not the same")


def _write_table(source: sa.Connection, target: sa.Connection, relocation: Relocation, each: sa.Table) -> Counts:
    added = there = changed = 0
    for batch in _pairs(source, target, relocation, each):
        new = [row for row, found in batch if found is None]
        if new:
            target.execute(sa.insert(each), new)
        added += len(new)
        there += len(batch) - len(new)
        changed += sum(found is not None and found != row for row, found in batch)
    return Counts(added, there, changed)


def _pairs(
    source: sa.Connection, target: sa.Connection, relocation: Relocation, each: sa.Table
) -> Iterator[list[tuple[Row, Row | None]]]:
    """Yields, in batches, each row as it should be, with the row that the target has for its key, or None."""
    key = list(each.primary_key.columns)
    rows = source.execution_options(yield_per=BATCH).execute(sa.select(each)).mappings()
    for partition in rows.partitions():
        wanted = [relocation.row(each.name, dict(row)) for row in partition]
        keys = [tuple(row[column.name] for column in key) for row in wanted]
        found = target.execute(sa.select(each).where(sa.tuple_(*key).in_(keys))).mappings()
        by_key = {tuple(row[column.name] for column in key): dict(row) for row in found}
        yield [(row, by_key.get(its)) for row, its in zip(wanted, keys, strict=True)]
