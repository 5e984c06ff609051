"""Writes the graph of stages as text, as Mermaid or, with Graphviz, as SVG."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.figures.boxes import FILLS, INK, STROKES, Box

# In labels, Mermaid interprets HTML, and entities written without the ampersand.
MERMAID_ESCAPES = str.maketrans({character: f"#{ord(character)};" for character in '#"<>&`'})
DOT_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\""})


def as_text(boxes: Sequence[Box]) -> str:
    """Returns a line for each stage, in the order of `boxes`: its name, its inputs, and its outcome."""
    rows = [(box.name, f"<- {', '.join(box.inputs)}" if box.inputs else "", box.status) for box in boxes]
    names, inputs = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return "".join(f"{name:{names}}  {sources:{inputs}}  {status}".rstrip() + "\n" for name, sources, status in rows)


def as_mermaid(boxes: Sequence[Box]) -> str:
    """Returns a Mermaid `flowchart LR`, for Markdown on GitHub and elsewhere, with a style class for each outcome."""
    # The names themselves cannot be ids: `end` and `a--b` are Mermaid syntax.
    ids = {box.name: f"s{number}" for number, box in enumerate(boxes)}
    lines = ["flowchart LR"]
    for box in boxes:
        label = "<br/>".join(part.translate(MERMAID_ESCAPES) for part in (box.name, box.status) if part)
        lines.append(f'    {ids[box.name]}["{label}"]' + (f":::{box.outcome}" if box.outcome else ""))
    lines += [f"    {ids[source]} --> {ids[box.name]}" for box in boxes for source in box.inputs]
    # In the order of their first stages. The text colour is set so that it can be read in dark mode too.
    for outcome in dict.fromkeys(box.outcome for box in boxes if box.outcome):
        lines.append(f"    classDef {outcome} fill:{FILLS[outcome]},stroke:{STROKES[outcome]},color:{INK}")
    return "\n".join(lines) + "\n"


def as_dot(boxes: Sequence[Box]) -> str:
    """Returns the graph in DOT, the language of Graphviz."""
    lines = [
        "digraph stages {",
        "    rankdir=LR;",
        f'    node [shape=box, style="rounded,filled", fontname="Helvetica", fontcolor="{INK}"];',
    ]
    for box in boxes:
        label = r"\n".join(part.translate(DOT_ESCAPES) for part in (box.name, box.status) if part)
        colors = f'fillcolor="{FILLS[box.outcome]}", color="{STROKES[box.outcome]}"'
        lines.append(f'    {_dot_id(box.name)} [label="{label}", {colors}];')
    lines += [f"    {_dot_id(source)} -> {_dot_id(box.name)};" for box in boxes for source in box.inputs]
    return "\n".join([*lines, "}"]) + "\n"


def _dot_id(name: str) -> str:
    return f'"{name.translate(DOT_ESCAPES)}"'


def refuse_graph_suffix(path: Path) -> None:
    """Refuses a path that `write_graph` could not write, so that a command finds out before its work, not after.

    Raises:
        UsageError: the suffix names no format that `write_graph` knows.
    """
    if path.suffix not in (".svg", ".mmd", ".txt"):
        raise UsageError(f"--graph is {path}, but must end in .svg, .mmd or .txt")


def write_graph(path: Path, boxes: Sequence[Box]) -> Path:
    """Writes the graph in the format that the suffix names, and returns the path that was written.

    It differs from `path` where that ends in `.svg` and Graphviz is not installed: Mermaid is then written to a file of
    the same name that ends in `.mmd`.

    Raises:
        UsageError: the suffix is unknown.
        OSError: the file cannot be written.
        subprocess.CalledProcessError: `dot` fails.
    """
    refuse_graph_suffix(path)
    if path.suffix == ".svg" and shutil.which("dot") is None:
        path = path.with_suffix(".mmd")
    if path.suffix == ".svg":
        path.write_bytes(_as_svg(boxes))
    else:
        path.write_text(as_text(boxes) if path.suffix == ".txt" else as_mermaid(boxes))
    return path


def _as_svg(boxes: Sequence[Box]) -> bytes:
    return subprocess.run(["dot", "-Tsvg"], input=as_dot(boxes).encode(), stdout=subprocess.PIPE, check=True).stdout
