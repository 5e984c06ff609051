"""What a section of the page is made of. Plain text everywhere: the template escapes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from pipeline.charts.style import Spec


class NotRecordedError(Exception):
    """The records lack what a section needs; the message says what and why, for the reader of the page."""


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
    """What it shows, for those who cannot see it."""
    min_width: int = 0
    """Pixels; on a narrower screen it scrolls."""
    max_width: int = 0
    """Pixels; 0 for all there is."""

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
    """Below the row, over its whole width."""


@dataclass(frozen=True)
class Table:
    kind: ClassVar = "table"
    head: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = ()
    """The columns of words, which stand at the left; numbers stand at the right."""
    fold: str | None = None
    """What to click on to see it; None where it is seen at once."""


@dataclass(frozen=True)
class Picture:
    """Two views of an image, as data URIs, and what is said of it."""

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
    """A value of a summary.

    Raises:
        NotRecordedError: it is missing or None; `why` is what the reader is told then.
    """
    found = values.get(name)
    if found is None:
        raise NotRecordedError(why or f"the sweep's summary does not tell ({name}): an older version wrote it")
    return found
