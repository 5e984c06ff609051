"""Running the parts one after the other: what fails is a row that says so, and the rest goes on."""

import gc
from collections.abc import Mapping

import torch

from benchmarks.gpu.setting import Item, NotAvailableError, Part, Setting, TimeLimitError
from benchmarks.gpu.table import Row

LONGEST_NOTE = 300
"""Characters of an error."""


def run_parts(parts: Mapping[str, Part], setting: Setting) -> None:
    """Adds all rows to the table, each as soon as it is there, and prints it."""
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
    """Gives back what the last measurement held, so that the next one has all of the memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
