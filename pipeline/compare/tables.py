"""Puts a comparison into words and tables, for a terminal and as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.compare.comparison import Comparison, Figure, Pair
from pipeline.compare.evidence import Evidence

_NONE = "-"


@dataclass(frozen=True)
class Section:
    """A table, or lines of text, under a title."""

    title: str
    columns: tuple[str, ...] = ()
    """The first column names the rows; the others are the models."""
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()


def sections(models: Sequence[Evidence], comparison: Comparison) -> Iterator[Section]:
    names = comparison.models
    about = {
        "run": [model.run_name for model in models],
        "run id": [model.run_id for model in models],
        "kind": [model.kind for model in models],
        "ended": [model.ended for model in models],
    }
    yield Section("models", ("", *names), tuple((name, *cells) for name, cells in about.items()))
    settings = tuple((name, *(value or _NONE for value in row)) for name, row in comparison.settings.items())
    if settings:
        yield Section("settings that differ", ("", *names), settings)
    else:
        yield Section("settings that differ", lines=("none",))
    metrics = tuple((name, *(_cell(name, figure) for figure in row)) for name, row in comparison.metrics.items())
    yield Section("figures, accuracies with 95% intervals", ("", *names), metrics)
    if comparison.classes is not None:
        by_class = comparison.classes.rows.items()
        rows = tuple((name, *(_cell("accuracy", figure) for figure in row)) for name, row in by_class)
        yield Section(f"accuracy by class, {comparison.classes.split} images", ("class", *names), rows)
    yield Section("on the same test images", lines=tuple(_sentence(pair) for pair in comparison.pairs))
    if comparison.notes:
        yield Section("notes", lines=comparison.notes)


def _cell(name: str, figure: Figure | None) -> str:
    if figure is None:
        return _NONE
    if "accuracy" not in name:
        return f"{figure.value:.4g}"
    interval = figure.interval
    within = "" if interval is None else f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    return f"{figure.value:.2%}{within}"


def _sentence(pair: Pair) -> str:
    both = f"{pair.first} and {pair.second}"
    found = pair.paired
    if found is None:
        return f"{both}: no test, {pair.reason}"
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return (
        f"{both}, {found.images:,} images: only {pair.first} is right on {found.only_first}, only {pair.second} on"
        f" {found.only_second}; {pair.second} has {100 * found.difference:+.2f} points [{low:+.2f}, {high:+.2f}];"
        f" McNemar's exact test {found.p_text}"
    )


def print_sections(console: Console, all_sections: Sequence[Section]) -> None:
    """Prints the sections. Names are printed as plain text, not as Rich's markup: a class may be called `[bold]`."""
    for section in all_sections:
        console.print()
        if section.columns:
            table = Table(title=section.title, box=None, title_justify="left")
            for index, column in enumerate(section.columns):
                table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
            for row in section.rows:
                table.add_row(*map(Text, row))
            console.print(table)
        else:
            console.print(section.title, style="italic", highlight=False)
            for line in section.lines:
                console.print(Text(f"  {line}"), soft_wrap=True)


def to_markdown(all_sections: Sequence[Section]) -> str:
    return "\n".join(line for section in all_sections for line in (f"## {section.title}", "", *_markdown(section), ""))


def _markdown(section: Section) -> Iterator[str]:
    if section.columns:
        yield _markdown_row(section.columns)
        yield "|" + "---|" * len(section.columns)
        yield from map(_markdown_row, section.rows)
    yield from (f"- {line}" for line in section.lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
