"""Runs the parts one after the other; a measurement that fails becomes a row that says so, and the rest continues."""

import gc
from collections.abc import Mapping

import torch

from benchmarks.gpu.setting import Item, NotAvailableError, Part, Setting, TimeLimitError
from benchmarks.gpu.table import Row

LONGEST_NOTE = 300
"""The most characters of an error that a row shows."""


def run_parts(parts: Mapping[str, Part], setting: Setting) -> None:
    """Measures all rows, adds each to the table as soon as it is measured, and prints it."""
    for name, part in parts.items():
        for item in part(setting):
            row = _row(name, item, setting)
            setting.table.add(row)
            print(" | ".join(cell for cell in row.cells() if cell), flush=True)
            _free()


def _row(part: str, item: Item, setting: Setting) -> Row:
    try:
        setting.check_time()
        measured = item.measure()
    except TimeLimitError:
        return Row(part, item.what, "skipped", note="the time limit was reached")
    except NotAvailableError as reason:
        return Row(part, item.what, "skipped", note=_one_line(str(reason)))
    except Exception as error:  # whatever it is, the other measurements are worth having
        return Row(part, item.what, "failed", note=_one_line(f"{type(error).__name__}: {error}"))
    return Row(part, item.what, "measured", measured.figures, measured.n, measured.note)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_NOTE]


def _free() -> None:
    """Frees the memory that the last measurement held, so that the next one has all of it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
