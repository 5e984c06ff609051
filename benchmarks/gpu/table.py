"""The table of all results, whose rows are saved as soon as they are measured, as Markdown and as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["measured", "failed", "skipped"]
RESULTS, TABLE = "results.json", "table.md"


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str = ""
    spread: float | None = None
    """Its standard deviation, in the same unit."""

    def __str__(self) -> str:
        unit = self.unit if self.unit == "%" else f" {self.unit}"
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self.name} {_number(self.value)}{unit}".rstrip() + spread


def _number(value: float) -> str:
    """A number with three significant digits, or as a whole number if it is one or is 1,000 or more."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


@dataclass(frozen=True)
class Measured:
    """The result of one measurement."""

    figures: tuple[Figure, ...]
    n: int | None = None
    """How many measurements a figure is the median or the mean of."""
    note: str = ""


@dataclass(frozen=True)
class Row:
    part: str
    what: str
    status: Status
    figures: tuple[Figure, ...] = ()
    n: int | None = None
    note: str = ""
    """A note on the figures, or why there are none."""

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Row":
        return Row(**{**values, "figures": tuple(Figure(**figure) for figure in values["figures"])})

    def cells(self) -> tuple[str, ...]:
        result = "; ".join(str(figure) for figure in self.figures) or self.status
        return self.part, self.what, result, "" if self.n is None else str(self.n), self.note


class Table:
    """The rows in a folder. It keeps earlier rows with the same machine and images, of parts that do not run again."""

    def __init__(self, folder: Path, header: dict[str, str], parts: Iterable[str]) -> None:
        """`header` describes the machine, the images and so on; `parts` are the parts that run now."""
        self._folder, self._header = folder, header
        folder.mkdir(parents=True, exist_ok=True)
        again = set(parts)
        self.rows = [row for row in self._earlier() if row.part not in again]

    def _earlier(self) -> list[Row]:
        file = self._folder / RESULTS
        saved = json.loads(file.read_text()) if file.exists() else {}
        if any(saved.get(key) != self._header[key] for key in ("machine", "images")):
            return []
        return [Row.from_dict(values) for values in saved["rows"]]

    def add(self, row: Row) -> None:
        self.rows.append(row)
        values = {**self._header, "rows": [asdict(each) for each in self.rows]}
        (self._folder / RESULTS).write_text(json.dumps(values, indent=2) + "\n")
        (self._folder / TABLE).write_text(self.markdown() + "\n")

    def figure(self, part: str, what: str, name: str) -> float | None:
        """The value of a figure; None if it was not measured."""
        figures = [each for row in self.rows if (row.part, row.what) == (part, what) for each in row.figures]
        return next((each.value for each in figures if each.name == name), None)

    def has_failed(self, part: str, what: str) -> bool:
        return any((row.part, row.what, row.status) == (part, what, "failed") for row in self.rows)

    def markdown(self) -> str:
        """The header, which says what the rows were measured on, then all rows."""
        lines = [f"{'; '.join(f'{key}: {value}' for key, value in self._header.items())}.", ""]
        lines += ["| part | what | result | n | note |", "|---|---|---|---|---|"]
        for row in self.rows:
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in row.cells()) + " |")
        return "\n".join(lines)
