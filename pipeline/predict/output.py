"""Writes the file of predictions as they arrive; the file appears under its name only once it is complete."""

import csv
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError

FORMATS = (".parquet", ".csv")
_DIGITS = 9
"""Significant digits of a probability: all that a float32 holds."""


def refuse_unfit(out: Path) -> None:
    """Raises UsageError for a file that cannot be written, in seconds rather than after all images are classified."""
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"--out is {out}, but must end in {' or '.join(FORMATS)}")
    if out.is_dir():
        raise UsageError(f"--out is {out}, but that is a folder")
    if not os.access(out.resolve().parent, os.W_OK):
        raise UsageError(f"--out is {out}, but its folder cannot be written")


@contextmanager
def written_whole(out: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Yields a function that appends a table to the file, which gets its name when the block ends without an error.

    Until then, an earlier file of that name is kept. The format depends on the suffix; in CSV, lists are written as
    JSON.
    """
    begun = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        if out.suffix.lower() == ".csv":
            with begun.open("w", newline="", encoding="utf-8") as file:
                yield _csv_appender(file, schema)
        else:
            with pq.ParquetWriter(begun, schema) as writer:
                yield writer.write_table
        begun.replace(out)
    finally:
        begun.unlink(missing_ok=True)


def _csv_appender(file: TextIO, schema: pa.Schema) -> Callable[[pa.Table], None]:
    rows = csv.writer(file)
    rows.writerow(schema.names)

    def append(table: pa.Table) -> None:
        for row in table.to_pylist():
            rows.writerow([_text(value) for value in row.values()])

    return append


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return "[" + ", ".join(_text(each) if isinstance(each, float) else json.dumps(each) for each in value) + "]"
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else value
