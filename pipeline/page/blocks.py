"""The blocks that the page's sections consist of. They hold plain text, which the template escapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from pipeline.charts.style import Spec


class NotRecordedError(Exception):
    """Raised if the records lack what a section needs. Its message tells the page's reader what is missing and why."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Chart:
    kind: ClassVar = "chart"
    spec: Spec
    says: str
    """What the chart shows, in words, for readers who cannot see it."""
    min_width: int = 0
    """In pixels; on a narrower screen the chart scrolls."""
    max_width: int = 0
    """In pixels; 0 for no limit."""

    @property
    def style(self) -> str:
        limits = {"min-width": self.min_width, "max-width": self.max_width}
        return "; ".join(f"{name}: {pixels}px" for name, pixels in limits.items() if pixels)


@dataclass(frozen=True)
class Charts:
    """Several charts side by side where there is room."""

    kind: ClassVar = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True)
class Row:
    cells: Sequence[str]
    strong: bool = False
    note: str | None = None
    """A text below the row, across all columns but the first."""


@dataclass(frozen=True)
class Table:
    kind: ClassVar = "table"
    head: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = ()
    """The indices of the columns that hold words: these are aligned to the left, columns of numbers to the right."""
    fold: str | None = None
    """The text to click on to unfold the table; None for a table that is always shown."""


@dataclass(frozen=True)
class Picture:
    """Two views of an image, as data URIs, with a title and a caption."""

    plain: str
    overlaid: str
    title: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    kind: ClassVar = "pictures"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Drawing:
    kind: ClassVar = "drawing"
    svg: Markup


@dataclass(frozen=True)
class Code:
    kind: ClassVar = "code"
    text: str


@dataclass(frozen=True)
class Facts:
    kind: ClassVar = "facts"
    facts: Mapping[str, str]


Block = Text | Chart | Charts | Table | Pictures | Drawing | Code | Facts


def need(values: Mapping[str, Any], name: str, why: str = "") -> Any:
    """Returns a value of a sweep's summary.

    Raises:
        NotRecordedError: the value is missing or None. `why` is the message, if it is given.
    """
    found = values.get(name)
    if found is None:
        raise NotRecordedError(why or f"the sweep's summary does not tell ({name}): an older version wrote it")
    return found
