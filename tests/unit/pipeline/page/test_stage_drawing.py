"""Tests of the graph of stages as SVG, which is read back as XML."""

from typing import Any
from xml.etree import ElementTree

from pipeline.page.stage_drawing import draw_stages

SPACE = "{http://www.w3.org/2000/svg}"


def stage(name: str, *inputs: str, outcome: str = "run", seconds: float | None = 75.0) -> dict[str, Any]:
    return {"name": name, "inputs": list(inputs), "outcome": outcome, "seconds": seconds, "run_id": "3f2a8b1c00"}


def drawing(*stages: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(
        str(draw_stages(stages)).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    )


def texts(svg: ElementTree.Element, kind: str) -> list[str | None]:
    return [text.text for text in svg.iter(f"{SPACE}text") if text.get("class") == kind]


def test_every_stage_has_a_box_with_its_time_and_every_input_an_arrow() -> None:
    svg = drawing(
        stage("prepare", outcome="cached", seconds=None), stage("search", "prepare"),
        stage("report", "prepare", "search", seconds=None),
    )  # fmt: skip
    assert texts(svg, "name") == ["prepare", "search", "report"]
    assert texts(svg, "note") == ["from run 3f2a8b1c", "1 min 15 s", None]
    assert [group.get("class") for group in svg.iter(f"{SPACE}g")] == ["stage cached", "stage run", "stage run"]
    assert sum(path.get("class") == "arrow" for path in svg.iter(f"{SPACE}path")) == 3


def test_boxes_stand_within_the_drawing_and_apart() -> None:
    svg = drawing(stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b", "c"))
    width, height = (float(svg.get(name, "0")) for name in ("width", "height"))
    boxes = [[float(box.get(name, "0")) for name in ("x", "y", "width", "height")] for box in svg.iter(f"{SPACE}rect")]
    assert len(boxes) == 4
    for number, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
        for other_x, other_y, other_w, other_h in boxes[:number]:
            assert x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y


def test_a_stages_name_is_text_not_markup() -> None:
    assert texts(drawing(stage("<script>&")), "name") == ["<script>&"]
