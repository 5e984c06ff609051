"""Tests the graph as text, Mermaid and Graphviz, by reading each back into its edges."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.errors import UsageError
from pipeline.figures.boxes import Box
from pipeline.figures.graph_text import as_dot, as_mermaid, as_text, refuse_graph_suffix, write_graph

BARE = (
    Box("prepare", ()),
    Box("search", ("prepare",)),
    Box("evaluate-once", ("search",)),
    Box("end", ("prepare", "search", "evaluate-once")),
)
RUN = (
    Box("prepare", (), "cached", "from run 3f2a"),
    Box("search", ("prepare",), "run", "42 s"),
    Box("evaluate-once", ("search",), "run", 'said "<a>" & #1'),
    Box("end", ("prepare", "search", "evaluate-once"), "run"),
)
HOSTILE = (Box('a"b\\', ()), Box("x;] --> y", ('a"b\\',)))


def edges(boxes: tuple[Box, ...]) -> set[tuple[str, str]]:
    return {(source, box.name) for box in boxes for source in box.inputs}


def edges_of_text(text: str) -> set[tuple[str, str]]:
    found = set()
    for line in text.splitlines():
        name, _, rest = line.partition("<-")
        sources = re.split(r"\s{2,}", rest.strip())[0]
        found |= {(source.strip(), name.strip()) for source in sources.split(",") if source}
    return found


def edges_of_mermaid(text: str) -> set[tuple[str, str]]:
    """Returns the edges, and checks that every line after the first is a node, an edge or a class."""
    names, found, header = {}, set(), "flowchart LR"
    assert text.splitlines()[0] == header
    for line in text.splitlines()[1:]:
        if node := re.fullmatch(r' {4}(\w+)\["([^"<]*)(?:<br/>[^"<]*)?"\](?::::(\w+))?', line):
            names[node[1]] = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), node[2])
        elif edge := re.fullmatch(r" {4}(\w+) --> (\w+)", line):
            found.add((edge[1], edge[2]))
        else:
            assert re.fullmatch(r" {4}classDef \w+ (\w+:#[0-9A-Fa-f]{6},?)+", line), line
    return {(names[source], names[target]) for source, target in found}


def edges_of_dot(text: str) -> set[tuple[str, str]]:
    quoted = r'"((?:[^"\\]|\\.)*)"'
    found = re.findall(rf"^ +{quoted} -> {quoted};$", text, re.MULTILINE)
    return {tuple(re.sub(r"\\(.)", r"\1", name) for name in edge) for edge in found}  # type: ignore[misc]


@pytest.mark.parametrize("boxes", [BARE, RUN, ()])
def test_text_has_all_edges(boxes: tuple[Box, ...]) -> None:
    assert edges_of_text(as_text(boxes)) == edges(boxes)


@pytest.mark.parametrize("boxes", [BARE, RUN, HOSTILE, ()])
def test_mermaid_has_all_edges(boxes: tuple[Box, ...]) -> None:
    assert edges_of_mermaid(as_mermaid(boxes)) == edges(boxes)


@pytest.mark.parametrize("boxes", [BARE, RUN, HOSTILE, ()])
def test_dot_has_all_edges(boxes: tuple[Box, ...]) -> None:
    assert edges_of_dot(as_dot(boxes)) == edges(boxes)


def test_text_is_aligned_and_ends_no_line_with_blanks() -> None:
    assert as_text(RUN).splitlines() == [
        "prepare                                           cached, from run 3f2a",
        "search         <- prepare                         run, 42 s",
        'evaluate-once  <- search                          run, said "<a>" & #1',
        "end            <- prepare, search, evaluate-once  run",
    ]


def test_the_bare_text_has_names_and_inputs_alone() -> None:
    assert as_text(BARE).splitlines()[:2] == ["prepare", "search         <- prepare"]


def test_mermaid_has_a_class_for_each_outcome_that_occurs() -> None:
    text = as_mermaid(RUN)
    assert set(re.findall(r":::(\w+)", text)) == set(re.findall(r"classDef (\w+)", text))
    assert set(re.findall(r":::(\w+)", text)) == {"cached", "run"}
    assert "classDef" not in as_mermaid(BARE)


@pytest.mark.parametrize(("suffix", "draw"), [(".txt", as_text), (".mmd", as_mermaid)])
def test_the_suffix_names_the_format(tmp_path: Path, suffix: str, draw: Callable[[Sequence[Box]], str]) -> None:
    path = tmp_path / f"graph{suffix}"
    assert write_graph(path, RUN) == path
    assert path.read_text() == draw(RUN)


def test_without_graphviz_an_svg_becomes_mermaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert write_graph(tmp_path / "graph.svg", RUN) == tmp_path / "graph.mmd"
    assert (tmp_path / "graph.mmd").read_text() == as_mermaid(RUN)
    assert not (tmp_path / "graph.svg").exists()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("boxes", [BARE, RUN, HOSTILE, ()])
def test_with_graphviz_an_svg_is_one(tmp_path: Path, boxes: tuple[Box, ...]) -> None:
    path = write_graph(tmp_path / "graph.svg", boxes)
    drawn = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}g")
    assert sum(group.get("class") == "edge" for group in drawn) == len(edges(boxes))


@pytest.mark.parametrize("name", ["x.png", "x", "x.svg.gz"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    message = re.escape(f"--graph is {path}, but must end in .svg, .mmd or .txt")
    with pytest.raises(UsageError, match=message):
        refuse_graph_suffix(path)
    with pytest.raises(UsageError, match=message):
        write_graph(path, BARE)
    assert not path.exists()
